// Swagger UI on this service's schema. Requests carry the page's CSRF token, so that a logged-in user can try them.
const place = document.getElementById("swagger");

SwaggerUIBundle({
  url: place.dataset.schema,
  domNode: place,
  deepLinking: true,
  validatorUrl: null, // no badge from an outside server
  requestInterceptor: (request) => {
    if (request.method && request.method !== "GET") {
      request.headers[place.dataset.csrfHeader] = place.dataset.csrf;
    }
    return request;
  },
});
