"use strict";

// Addresses are relative to the page, so that it works behind a proxy's path prefix as well.
const options = {
  dom_id: "#swagger-ui",
  url: new URL("openapi.json", document.baseURI).href,
  // The default validator would send the document's address to a server on the Internet.
  validatorUrl: null,
  deepLinking: true,
  displayRequestDuration: true,
  tryItOutEnabled: true,
};

window.addEventListener("load", () => {
  SwaggerUIBundle(options);
});
