// Draw a chart on each canvas with data-chart="ID OF A JSON SCRIPT" (Chart.js, which comes with the theme). The template
// tag `chart` in monitoring/templatetags/console.py describes the data. A drag over a chart with data-zoom asks the
// server for that range, and a double click for a wider one. The page has buttons for the same. A click on a mark or
// tick with an address opens it.
"use strict";

(() => {
  const LOOKS = {
    good: "#16a34a", warn: "#d97706", bad: "#dc2626", dim: "#6b7280", one: "#2563eb", two: "#9333ea", three: "#0891b2",
  };
  const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
  const minute = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
  const day = new Intl.DateTimeFormat(undefined, { dateStyle: "short", timeStyle: "short" });
  const S = 1000, M = 60 * S, H = 60 * M, D = 24 * H;
  const STEPS = [S, 2 * S, 5 * S, 10 * S, 15 * S, 30 * S, M, 2 * M, 5 * M, 10 * M, 15 * M, 30 * M, H, 2 * H, 3 * H, 6 * H, 12 * H, D, 2 * D, 7 * D, 14 * D, 30 * D, 90 * D];
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;

  const marks = {
    id: "gsMarks",
    afterDatasetsDraw(chart, _args, options) {
      const { ctx, chartArea: area, scales: { x } } = chart;
      const ends = [0, 0, 0]; // the end of the last label in each of three rows
      ctx.save();
      for (const mark of options.marks || []) {
        const at = x.getPixelForValue(mark.at);
        if (at < area.left || at > area.right) continue;
        ctx.strokeStyle = ctx.fillStyle = LOOKS[mark.look] || LOOKS.dim;
        ctx.setLineDash([4, 3]);
        ctx.beginPath();
        ctx.moveTo(at, area.top);
        ctx.lineTo(at, area.bottom);
        ctx.stroke();
        const width = ctx.measureText(mark.label).width;
        const left = Math.max(area.left, Math.min(at + 3, area.right - width));
        const row = ends.findIndex((end) => left > end + 4);
        if (row < 0) continue;
        ends[row] = left + width;
        ctx.fillText(mark.label, left, area.top + 9 + 12 * row);
      }
      ctx.setLineDash([]);
      for (const tick of options.ticks || []) {
        const at = x.getPixelForValue(tick.at);
        if (at < area.left || at > area.right) continue;
        ctx.fillStyle = LOOKS[tick.look] || LOOKS.dim;
        ctx.beginPath();
        ctx.moveTo(at, area.bottom - 8);
        ctx.lineTo(at - 4, area.bottom);
        ctx.lineTo(at + 4, area.bottom);
        ctx.fill();
      }
      if (options.drag) {
        ctx.fillStyle = "rgba(37, 99, 235, .2)";
        ctx.fillRect(options.drag.from, area.top, options.drag.to - options.drag.from, area.bottom - area.top);
      }
      ctx.restore();
    },
  };

  // Put at most eight ticks at round times of the viewer's zone.
  function roundTimes(axis) {
    const step = STEPS.find((each) => (axis.max - axis.min) / each <= 8) || 365 * D;
    const zone = new Date(axis.min).getTimezoneOffset() * M;
    const ticks = [];
    for (let at = Math.ceil((axis.min - zone) / step) * step + zone; at <= axis.max; at += step) ticks.push({ value: at });
    if (ticks.length) axis.ticks = ticks;
  }

  // Return the mark or tick under the pointer.
  function under(chart, data, event) {
    const { chartArea: area, scales: { x } } = chart;
    const isAtFoot = event.offsetY > area.bottom - 14;
    let best = null, nearest = 7;
    for (const each of (isAtFoot ? data.ticks : data.marks) || []) {
      const distance = Math.abs(x.getPixelForValue(each.at) - event.offsetX);
      if (each.href && distance < nearest) [best, nearest] = [each, distance];
    }
    return best;
  }

  function lead(canvas, chart, data) {
    const own = chart.options.plugins.gsMarks;
    let start = null;
    const inside = (event) => Math.max(chart.chartArea.left, Math.min(event.offsetX, chart.chartArea.right));

    canvas.addEventListener("pointermove", (event) => {
      const mark = under(chart, data, event);
      canvas.title = mark ? mark.label : "";
      canvas.classList.toggle("gs-leads", mark !== null);
      if (start === null) return;
      own.drag = { from: start, to: inside(event) };
      chart.draw();
    });
    canvas.addEventListener("click", (event) => {
      const mark = under(chart, data, event);
      if (mark && !canvas.dataset.dragged) location.assign(mark.href);
      delete canvas.dataset.dragged;
    });
    if (!("zoom" in canvas.dataset)) return;
    canvas.addEventListener("pointerdown", (event) => {
      if (event.pointerType === "touch" || event.button !== 0) return;
      start = inside(event);
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointerup", (event) => {
      if (start === null) return;
      const [from, to] = [start, inside(event)].sort((one, other) => one - other);
      start = own.drag = null;
      chart.draw();
      if (to - from < 8) return;
      canvas.dataset.dragged = "1";
      const at = (pixel) => Math.round(chart.scales.x.getValueForPixel(pixel));
      location.assign(data.zoom.replace("{from}", at(from)).replace("{to}", at(to)));
    });
    canvas.addEventListener("pointercancel", () => { start = own.drag = null; chart.draw(); });
    canvas.addEventListener("dblclick", () => { if (data.out) location.assign(data.out); });
  }

  function draw(canvas) {
    const source = document.getElementById(canvas.dataset.chart);
    if (!source || Chart.getChart(canvas)) return;
    const data = JSON.parse(source.textContent);
    const ink = getComputedStyle(canvas.closest(".gs")).color;
    const half = data.kind === "bar" && data.x.length > 1 ? (data.x[1] - data.x[0]) / 2 : 0; // half a bar, added at both ends
    const from = (data.from ?? data.x[0]) - half, to = (data.to ?? data.x[data.x.length - 1]) + half;
    const told = to - from > 43_200_000 ? day : to - from > 300_000 ? minute : clock;
    const axis = { ticks: { color: ink }, grid: { color: "rgba(128,128,128,.2)" } };
    const scales = {
      x: { type: "linear", min: from, max: to, ...axis, stacked: !!data.stacked, afterBuildTicks: roundTimes,
           ticks: { color: ink, maxTicksLimit: 8, maxRotation: 0, autoSkipPadding: 12,
                    callback: (at) => told.format(new Date(at)) } },
      left: { position: "left", beginAtZero: true, stacked: !!data.stacked, ...axis,
              title: { display: !!data.unit, text: data.unit, color: ink } },
    };
    if (data.series.some((each) => each.axis === "right"))
      scales.right = { position: "right", beginAtZero: true, ...axis, grid: { drawOnChartArea: false } };
    const chart = new Chart(canvas, {
      type: data.kind,
      data: {
        datasets: data.series.map((each) => ({
          label: each.label, yAxisID: each.axis || "left", data: data.x.map((at, i) => ({ x: at, y: each.y[i] })),
          borderColor: LOOKS[each.look], backgroundColor: LOOKS[each.look] + (data.kind === "bar" ? "" : "33"),
          fill: !!data.stacked, pointRadius: 0, borderWidth: 1.5, barPercentage: 1, categoryPercentage: 1,
        })),
      },
      options: {
        animation: false, parsing: false, normalized: true, maintainAspectRatio: false,
        transitions: still ? { active: { animation: { duration: 0 } } } : undefined,
        interaction: { mode: "index", intersect: false }, scales,
        plugins: {
          legend: { labels: { color: ink, boxWidth: 12 } }, gsMarks: { marks: data.marks, ticks: data.ticks },
          tooltip: { callbacks: { title: (at) => (at.length ? day.format(new Date(at[0].parsed.x)) : "") } },
        },
      },
      plugins: [marks],
    });
    lead(canvas, chart, data);
  }

  function drawAll(root) {
    root.querySelectorAll("canvas[data-chart]").forEach(draw);
  }

  drawAll(document);
  document.addEventListener("gs:shown", (event) => {
    for (const each of Object.values(Chart.instances)) if (!each.canvas?.isConnected) each.destroy(); // of replaced parts
    drawAll(event.target);
  });
})();
