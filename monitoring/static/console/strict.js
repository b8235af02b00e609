// What the theme's libraries must be told to work under a policy without 'unsafe-inline' (config/csp.py). It runs
// after htmx and before Alpine.
"use strict";

// htmx would write a <style> into the page, which theme.css has instead, and evaluate attributes that nobody uses here.
htmx.config.includeIndicatorStyles = false;
htmx.config.allowEval = false;

// A style bound as text sets the attribute, which the policy forbids; bound as an object it sets the property.
document.addEventListener("alpine:init", () => {
  document.getElementById("changelist-actions")?.setAttribute("x-bind:style", "{ width: changeListWidth + 'px' }");
});
