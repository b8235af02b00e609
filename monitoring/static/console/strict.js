// Make the theme's libraries work under a policy without 'unsafe-inline' (config/csp.py). This runs after htmx and
// before Alpine.
"use strict";

// htmx would write a <style> into the page, which theme.css has instead. It would also evaluate attributes, which no
// page here uses.
htmx.config.includeIndicatorStyles = false;
htmx.config.allowEval = false;

// A style bound as text sets the attribute, which the policy forbids. A style bound as an object sets the property.
document.addEventListener("alpine:init", () => {
  document.getElementById("changelist-actions")?.setAttribute("x-bind:style", "{ width: changeListWidth + 'px' }");
});
