import { canSign, signRequest } from "./signing.js";

// Addresses are relative to the page, so that it works behind a proxy's path prefix as well.
const address = (path) => new URL(path, document.baseURI).href;

// The webhook secret, and the API key, which is the user name.
const SECRET_FIELDS = new Set(["api_key_value", "auth_username"]);

// A browser remembers what is typed into fields of plain text and offers it again later, to anyone at this computer.
const hiddenSecrets = () => ({
  wrapComponents: {
    Input: (Original, system) => (properties) => {
      const hidden = SECRET_FIELDS.has(properties.id) ? { type: "password", autoComplete: "new-password" } : {};
      return system.React.createElement(Original, { ...properties, ...hidden });
    },
  },
});

if (!canSign()) {
  document.getElementById("webhook-address").textContent = address("webhooks/heap");
  document.getElementById("no-signing").hidden = false;
}

window.SwaggerUIBundle({
  dom_id: "#swagger-ui",
  url: address("openapi.json"),
  // The default validator would send the document's address to a server on the Internet.
  validatorUrl: null,
  deepLinking: true,
  displayRequestDuration: true,
  tryItOutEnabled: true,
  // Would put keys and secrets into the browser's storage.
  persistAuthorization: false,
  requestInterceptor: signRequest,
  // The snippet is to show what is sent, the signature, and not what it is made from.
  showMutatedRequest: true,
  plugins: [hiddenSecrets],
});
