// In the page: one library at a time, timed on products with a weight matrix.

/** Each starts its library and returns what puts two matrices on the GPU; `run` resolves when a product is done. */
const LIBRARIES = {
  tunesmith: () => ours('F32'),
  'tunesmith-q4_1': () => ours('Q4_1'),
  async 'jax-js'() {
    const jax = await import('/node_modules/@jax-js/jax/dist/index.js');
    const devices = await jax.init('webgpu');
    if (!devices.includes('webgpu')) throw new Error('jax-js finds no WebGPU');
    jax.defaultDevice('webgpu');
    const matmul = jax.jit((a, b) => jax.numpy.matmul(a, b));
    return async (a, b, [m, k, n]) => {
      const [x, w] = [jax.numpy.array(a).reshape([m, k]), jax.numpy.array(b).reshape([k, n])];
      const product = () => matmul(x.ref, w.ref);
      return {
        // It maps a staging buffer behind the product: nothing is copied, the product is done.
        run: async () => (await product().blockUntilReady()).dispose(),
        values: () => product().data(),
        free: () => [x, w].forEach((array) => array.dispose()),
      };
    };
  },
  async tfjs() {
    await script('/node_modules/@tensorflow/tfjs/dist/tf.min.js');
    await script('/node_modules/@tensorflow/tfjs-backend-webgpu/dist/tf-backend-webgpu.min.js');
    const { tf } = globalThis;
    if (!(await tf.setBackend('webgpu'))) throw new Error('tfjs finds no WebGPU');
    await tf.ready();
    if (tf.getBackend() !== 'webgpu') throw new Error(`tfjs runs on ${tf.getBackend()}`);
    return async (a, b, [m, k, n]) => {
      const [x, w] = [tf.tensor2d(a, [m, k]), tf.tensor2d(b, [k, n])];
      return {
        // One element read back: the product is done.
        run: async () => {
          const [y, one] = tf.tidy(() => {
            const y = tf.matMul(x, w);
            return [y, y.slice([m - 1, n - 1], [1, 1])];
          });
          await one.data();
          tf.dispose([y, one]);
        },
        values: async () => {
          const y = tf.matMul(x, w);
          const values = await y.data();
          y.dispose();
          return values;
        },
        free: () => tf.dispose([x, w]),
      };
    };
  },
};

/** Our own product, from a weight in the blocks of a GGUF file: rows of `b`'s columns. */
async function ours(kind) {
  const { default: init, Product } = await import('/pkg/tunesmith.js');
  await init();
  return async (a, b, [m, k, n]) => {
    const blocks = new Uint8Array((n * k * (kind === 'F32' ? 128 : 20)) / 32);
    const view = new DataView(blocks.buffer);
    for (let row = 0; row < n; row++) {
      if (kind === 'F32') {
        for (let col = 0; col < k; col++) view.setFloat32(4 * (row * k + col), b[col * n + row], true);
        continue;
      }
      for (let col = 0; col < k; col += 32) {
        // w = code / 8 - 1: scale and minimum as halves, then elements 0..16 in the low and 16..32 in the high bits.
        const at = ((row * k + col) / 32) * 20;
        view.setUint16(at, 0x3000, true);
        view.setUint16(at + 2, 0xbc00, true);
        for (let i = 0; i < 16; i++) {
          const code = (j) => {
            const q = Math.min(15, Math.floor((b[(col + j) * n + row] + 1) * 8));
            // What is checked is the product with the weight as it was quantized.
            b[(col + j) * n + row] = q / 8 - 1;
            return q;
          };
          blocks[at + 4 + i] = code(i) | (code(i + 16) << 4);
        }
      }
    }
    const product = await Product.create(m, k, n, kind, blocks);
    product.write(a);
    return {
      run: () => product.run(),
      values: async () => {
        await product.run();
        return product.values();
      },
      free: () => product.free(),
    };
  };
}

const ready = {};

/** Times in ms of the product of an m x k and a k x n matrix, which is checked first. */
export async function bench(library, shape, warmup, steps) {
  const prepare = await (ready[library] ??= LIBRARIES[library]());
  const [m, k, n] = shape;
  const [a, b] = [uniform(m * k), uniform(k * n)];
  const { run, values, free } = await prepare(a, b, shape);
  check(a, b, await values(), shape);
  const ms = [];
  for (let i = 0; i < warmup + steps; i++) {
    const start = performance.now();
    await run();
    if (i >= warmup) ms.push(Math.round((performance.now() - start) * 1e3) / 1e3);
  }
  free();
  return ms;
}

/** The adapter that the page gets, in words. */
export async function adapter() {
  const adapter = await navigator.gpu?.requestAdapter({ powerPreference: 'high-performance' });
  if (!adapter) throw new Error('no WebGPU adapter');
  const { vendor, architecture, description } = adapter.info;
  return [vendor, architecture, description].filter(Boolean).join(' ');
}

function uniform(length) {
  return Float32Array.from({ length }, () => Math.random() * 2 - 1);
}

/** Compares some elements with plain sums. */
function check(a, b, c, [m, k, n]) {
  if (c.length !== m * n) throw new Error(`${c.length} elements, not ${m * n}`);
  for (const [i, j] of [[0, 0], [0, n - 1], [m >> 1, (n / 3) | 0], [m - 1, n - 1]]) {
    let sum = 0;
    for (let l = 0; l < k; l++) sum += a[i * k + l] * b[l * n + j];
    if (!(Math.abs(c[i * n + j] - sum) < 1e-3)) throw new Error(`element (${i}, ${j}) is ${c[i * n + j]}, not ${sum}`);
  }
}

function script(src) {
  return new Promise((resolve, reject) => {
    const element = Object.assign(document.createElement('script'), { src, onload: resolve });
    element.onerror = () => reject(new Error(`no ${src}`));
    document.head.append(element);
  });
}
