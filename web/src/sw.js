// The offline shell: keeps the files that make the page, so that it opens without a network. Models
// are not its business (they live in the origin-private file system), save for the small note that
// says which one is the default. The two constants are filled in by the build.

const CACHE = 'tunesmith-__VERSION__';
const FILES = __FILES__;

self.addEventListener('install', (event) => {
  event.waitUntil(
    caches
      .open(CACHE)
      .then((cache) => cache.addAll(FILES))
      .then(() => self.skipWaiting()),
  );
});

self.addEventListener('activate', (event) => {
  const removeOthers = async () => {
    for (const name of await caches.keys()) if (name !== CACHE) await caches.delete(name);
    await self.clients.claim();
  };
  event.waitUntil(removeOthers());
});

self.addEventListener('fetch', (event) => {
  const { request } = event;
  const url = new URL(request.url);
  if (request.method !== 'GET' || url.origin !== self.location.origin) return;
  if (url.pathname.endsWith('.gguf')) return;
  event.respondWith(answer(request));
});

/** Files with a hash in their name never change; everything else comes from the network when it can. */
async function answer(request) {
  const cache = await caches.open(CACHE);
  const isPage = request.mode === 'navigate';
  const kept = await cache.match(isPage ? './' : request);
  if (kept && /\/assets\//.test(request.url)) return kept;
  try {
    const fresh = await fetch(request);
    if (fresh.ok && fresh.status === 200) await cache.put(isPage ? './' : request, fresh.clone());
    return fresh;
  } catch (failure) {
    if (kept) return kept;
    throw failure;
  }
}
