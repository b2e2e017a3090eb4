// Moves a threshold over the drawings of a side. The page says the same without it, in tables.
for (const side of document.querySelectorAll("[data-side]")) {
  const slider = side.querySelector(".slider");
  if (!slider) continue;
  const stops = JSON.parse(slider.querySelector("script").textContent);
  const input = slider.querySelector("input");
  const output = slider.querySelector("output");
  const share = (part, whole) => (whole ? part / whole : null);
  const number = (value) => (value === null ? "–" : value.toFixed(3));
  const percent = (value) => (value === null ? "–" : (100 * value).toFixed(1) + " %");
  const show = () => {
    const [threshold, tp, fp, fn, tn] = stops[Number(input.value)];
    const recall = share(tp, tp + fn);
    const alarms = share(fp, fp + tn);
    output.textContent =
      `${threshold > 1 ? "flag nothing" : "flag from " + threshold.toPrecision(4)}: ` +
      `precision ${number(share(tp, tp + fp))}, recall ${number(recall)}, ` +
      `F1 ${number(share(2 * tp, 2 * tp + fp + fn))}, false positives ${percent(alarms)}, ` +
      `flagged ${percent(share(tp + fp, tp + fp + fn + tn))}, ${fn} missed, ${fp} false alarms`;
    input.setAttribute("aria-valuetext", output.textContent);
    for (const line of side.querySelectorAll("[data-moves=line]")) {
      const x = 40 + 300 * Math.min(threshold, 1);
      line.setAttribute("x1", x);
      line.setAttribute("x2", x);
      line.removeAttribute("hidden");
    }
    for (const dot of side.querySelectorAll("[data-moves=roc]")) {
      if (recall === null || alarms === null) continue;
      dot.setAttribute("cx", 40 + 300 * alarms);
      dot.setAttribute("cy", 250 - 240 * recall);
      dot.removeAttribute("hidden");
    }
  };
  const half = stops.findIndex((stop) => stop[0] >= 0.5);
  input.value = half < 0 ? stops.length - 1 : half;
  input.addEventListener("input", show);
  slider.hidden = false;
  show();
}
