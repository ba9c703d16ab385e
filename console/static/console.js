// Copy buttons: <button data-copy="text">. The page works without this file; only copying by a click needs it.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const status = document.getElementById("copied");
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
    status.textContent = "Copied";
  } catch {
    status.textContent = "The browser does not allow copying; select the text instead";
  }
});
