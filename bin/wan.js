#!/usr/bin/env node
// The old name of wanctl, for one release. A static import would run before the notice.
console.error('wan is now called wanctl. The next release removes the old name.')
await import('./wanctl.js')
