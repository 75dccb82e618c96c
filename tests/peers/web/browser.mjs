// A page of this folder in headless Chromium, on SwiftShader's WebGPU or on what the browser finds.

import { createReadStream } from 'node:fs';
import { createServer } from 'node:http';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

const HERE = fileURLToPath(new URL('.', import.meta.url));
const PKG = fileURLToPath(new URL('../../../web/src/pkg/', import.meta.url));
const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.mjs': 'text/javascript', '.wasm': 'application/wasm' };
const FLAGS = [
  '--no-sandbox',
  '--enable-unsafe-webgpu',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--no-first-run',
];
const SWIFTSHADER = ['--use-webgpu-adapter=swiftshader', '--enable-unsafe-swiftshader'];

/**
 * Starts a browser, and a server on 127.0.0.1 alone of this folder, of the page's own build under /pkg, and of `files`, paths by
 * the address that each has. `gpu` leaves the choice of adapter to the browser; `open` opens page.html, `close` ends both.
 */
export async function openBrowser(gpu, files = {}) {
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url, 'http://localhost');
    const own = pathname.startsWith('/pkg/') ? join(PKG, normalize(pathname.slice(4))) : join(HERE, normalize(pathname));
    const path = files[pathname] ?? own;
    createReadStream(path)
      .on('open', () => response.setHeader('content-type', TYPES[extname(path)] ?? 'application/octet-stream'))
      .on('error', () => response.writeHead(404).end())
      .pipe(response);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const browser = await chromium.launch({
    executablePath: process.env.TUNESMITH_BROWSER ?? '/usr/bin/chromium',
    args: gpu ? FLAGS : [...FLAGS, ...SWIFTSHADER],
  });
  return {
    browser,
    async open() {
      const page = await browser.newPage();
      page.on('pageerror', (error) => console.error(error));
      await page.goto(`http://127.0.0.1:${server.address().port}/page.html`);
      return page;
    },
    async close() {
      await browser.close();
      server.close();
    },
  };
}
