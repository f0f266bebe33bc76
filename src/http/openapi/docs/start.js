/** Draws the document that lies beside this page; asks nobody else for anything. */
const dark = matchMedia('(prefers-color-scheme: dark)')
const follow = () => document.documentElement.classList.toggle('dark-mode', dark.matches)
dark.addEventListener('change', follow)
follow()

globalThis.SwaggerUIBundle({
  url: new URL('openapi.json', document.baseURI).href,
  dom_id: '#document',
  deepLinking: true,
  validatorUrl: null,
  persistAuthorization: false,
})
