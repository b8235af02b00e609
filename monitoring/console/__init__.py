"""The console: what people see of the model and its findings, and where they decide. It stands in the Django admin.

    GET  page ──> console.pages.page(permission) ──> console.data, findings (bounded) ──> template, whole or a part
    POST form ──> console.pages.form(permission) ──> operations (one transaction, one Review) ──> back, with a message

One login, the admin's; what an account may do follows from its role (monitoring.roles): buttons that it may not press
are not shown, and a forged POST gets 403. Pages are whole without JavaScript; with it, parts marked `data-poll` are
asked for again while somebody looks (static/console/console.js) and canvases are drawn (static/console/charts.js).
Parts of the overview that other packages offer are named by a setting (`panels`). Nothing here decides or counts: a
page that needs a figure asks `console.data`, `findings` or the recommender for it.
"""
