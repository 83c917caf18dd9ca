// The link that accel-rt prints holds the token behind "#": give it in the form's place.

const field = document.getElementById("token");

function takeFromLink() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token === null) return;
  history.replaceState(null, "", "/");
  field.value = token;
  field.form.requestSubmit();
}

addEventListener("hashchange", takeFromLink);
takeFromLink();
