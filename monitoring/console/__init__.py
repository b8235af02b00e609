"""The console: pages of the Django admin that show the model and its findings.

People also decide there.

    GET  page ──> console.pages.page(permission) ──> console.data, findings (bounded) ──> template, whole or a part
    POST form ──> console.pages.form(permission) ──> operations (one transaction, one Review) ──> back, with a message

The console uses the admin's login. The account's role (monitoring.roles) decides what it may do: a page shows no
button that the account may not press, and a forged POST gets 403. Pages work without JavaScript. With it, the browser
loads parts marked `data-poll` again while someone looks (static/console/console.js), and draws the charts
(static/console/charts.js). Other packages can offer parts of the overview, which a setting names (`panels`). The
console itself decides and counts nothing: a page gets its figures from `console.data`, `findings` or the recommender.
"""
