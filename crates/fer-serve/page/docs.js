// Starts Swagger UI on /docs. It reads openapi.json from the same server and sends requests only to that server.

const dark = matchMedia("(prefers-color-scheme: dark)");
const followScheme = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", followScheme);
followScheme();

SwaggerUIBundle({
  dom_id: "#api",
  url: "/openapi.json",
  deepLinking: true,
  tryItOutEnabled: true,
  // The badge of an online validator would send this server's address elsewhere.
  validatorUrl: null,
});
