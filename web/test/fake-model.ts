import type { Plugin } from 'vite';

const BYTES = 24_000_000;

/** Serves a file of the right shape and no content as the default model, in small pieces so that progress shows. */
export function fakeModel(): Plugin {
  return {
    name: 'fake-model',
    configureServer(server) {
      server.middlewares.use('/models/default.json', (_, response) => {
        response.setHeader('Content-Type', 'application/json');
        response.end(JSON.stringify({ name: 'SmolLM2-135M-Instruct', file: 'fake.gguf', bytes: BYTES, sha256: `fake-${BYTES}` }));
      });
      server.middlewares.use('/models/fake.gguf', async (request, response) => {
        const from = Number(/^bytes=(\d+)-/.exec(request.headers.range ?? '')?.[1] ?? 0);
        const bytes = Buffer.alloc(BYTES);
        bytes.write('GGUF');
        response.writeHead(from ? 206 : 200, {
          'Content-Length': BYTES - from,
          ...(from && { 'Content-Range': `bytes ${from}-${BYTES - 1}/${BYTES}` }),
        });
        for (let at = from; at < BYTES && !response.destroyed; at += 1_000_000) {
          response.write(bytes.subarray(at, Math.min(BYTES, at + 1_000_000)));
          await new Promise((resume) => setTimeout(resume, 60));
        }
        response.end();
      });
    },
  };
}
