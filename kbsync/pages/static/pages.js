// Where you are is in sight on a phone; "choose all on this page" is shown only where scripts run.
document.addEventListener("DOMContentLoaded", () => {
  document.querySelector("nav [aria-current]")?.scrollIntoView({ inline: "center", block: "nearest" });
  for (const all of document.querySelectorAll("input[data-all]")) {
    const boxes = document.querySelectorAll(`input[name="${all.dataset.all}"]`);
    all.hidden = false;
    all.addEventListener("change", () => boxes.forEach((box) => { box.checked = all.checked; }));
  }
});
