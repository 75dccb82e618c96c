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

/** How blocks of a GGUF file hold numbers in [-1, 1): `put` writes one and rounds the numbers to what it holds. */
const KINDS = {
  F32: { block: 1, bytes: 4, put: (view, at, w) => view.setFloat32(at, w[0], true) },
  F16: {
    block: 1,
    bytes: 2,
    put(view, at, w) {
      view.setFloat16(at, w[0], true);
      w[0] = view.getFloat16(at, true);
    },
  },
  Q8_0: {
    block: 32,
    bytes: 34,
    put(view, at, w) {
      // w = code / 128: the scale as a half, then the codes.
      view.setUint16(at, 0x2000, true);
      w.forEach((value, i) => {
        const code = Math.floor(value * 128);
        view.setInt8(at + 2 + i, code);
        w[i] = code / 128;
      });
    },
  },
  Q4_1: {
    block: 32,
    bytes: 20,
    put(view, at, w) {
      // w = code / 8 - 1: scale and minimum as halves, then elements 0..16 in the low and 16..32 in the high bits.
      view.setUint16(at, 0x3000, true);
      view.setUint16(at + 2, 0xbc00, true);
      const codes = w.map((value) => Math.floor((value + 1) * 8));
      for (let i = 0; i < 16; i++) view.setUint8(at + 4 + i, codes[i] | (codes[i + 16] << 4));
      w.forEach((_, i) => (w[i] = codes[i] / 8 - 1));
    },
  },
};

/** Our own products: a layer's, whose weight is `b` transposed, or, going back, one whose weight is `b`. */
async function ours(kind) {
  const { default: init, Product } = await import('/pkg/tunesmith.js');
  await init();
  const { block, bytes, put } = KINDS[kind];
  return async (a, b, [m, k, n], back, pair = new Float32Array()) => {
    const weight = back ? b : transposed(b, k, n);
    const blocks = new DataView(new ArrayBuffer((weight.length / block) * bytes));
    for (let i = 0; i < weight.length / block; i++) put(blocks, i * bytes, weight.subarray(i * block, (i + 1) * block));
    // What is checked is the product with the weight as it was rounded.
    if (!back) b.set(transposed(weight, n, k));
    const product = await Product.create(m, ...(back ? [k, n] : [n, k]), kind, new Uint8Array(blocks.buffer), pair, back);
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

/** Checks our own products in every encoding, with a pair of low rank, at a size that no tile divides. */
export async function verify() {
  for (const kind of Object.keys(KINDS)) {
    const prepare = await ours(kind);
    const [m, outputs, inputs, rank] = [21, 1061, KINDS[kind].block === 1 ? 100 : 96, 5];
    for (const back of [false, true]) {
      const shape = back ? [m, outputs, inputs] : [m, inputs, outputs];
      const [a, b, pair] = [uniform(m * shape[1]), uniform(outputs * inputs), uniform(rank * (inputs + outputs))];
      // The least and the greatest number that there may be.
      b.set(uniform(1, () => 0));
      b.set(uniform(1, () => 1 - 2 ** -53), b.length - 1);
      const { values, free } = await prepare(a, b, shape, back, pair);
      const sum = Float64Array.from(back ? b : transposed(b, inputs, outputs));
      const rest = pair.subarray(rank * inputs);
      for (let i = 0; i < outputs; i++) {
        for (let r = 0; r < rank; r++) {
          for (let j = 0; j < inputs; j++) sum[i * inputs + j] += rest[i * rank + r] * pair[r * inputs + j];
        }
      }
      check(`${kind}${back ? ' back' : ''}`, a, back ? sum : transposed(sum, outputs, inputs), await values(), shape);
      free();
    }
  }
}

const ready = {};

/** Times in ms of the product of an m x k and a k x n matrix, which is checked first; `back` is for ours. */
export async function bench(library, shape, back, warmup, steps) {
  const prepare = await (ready[library] ??= LIBRARIES[library]());
  const [m, k, n] = shape;
  const [a, b] = [uniform(m * k), uniform(k * n)];
  const { run, values, free } = await prepare(a, b, shape, back);
  check(library, a, b, await values(), shape);
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

/** Numbers in [-1, 1) that f32 holds exactly. One nearer to 1 would become 1, for which Q8_0 and Q4_1 have no code. */
function uniform(length, random = Math.random) {
  return Float32Array.from({ length }, () => Math.floor(random() * 2 ** 24) / 2 ** 23 - 1);
}

function transposed(matrix, rows, cols) {
  const out = new matrix.constructor(matrix.length);
  for (let i = 0; i < rows; i++) for (let j = 0; j < cols; j++) out[j * rows + i] = matrix[i * cols + j];
  return out;
}

/** Compares rows with sums in f64: every 15th, which with 256 of them is one in each place of a tile of 16. */
function check(what, a, b, c, [m, k, n]) {
  if (c.length !== m * n) throw new Error(`${what}: ${c.length} elements, not ${m * n}`);
  let [most, worst] = [0, 0];
  for (let i = 0; i < m; i += 15) {
    const sums = new Float64Array(n);
    for (let l = 0; l < k; l++) {
      const x = a[i * k + l];
      for (let j = 0; j < n; j++) sums[j] += x * b[l * n + j];
    }
    for (let j = 0; j < n; j++) {
      most = Math.max(most, Math.abs(sums[j]));
      // Not a number is no small difference.
      worst = Math.max(worst, Math.abs(c[i * n + j] - sums[j]));
    }
  }
  if (!(worst <= 1e-5 * most)) throw new Error(`${what} ${m} x ${k} x ${n}: off by ${worst} where ${most} is the most`);
}

function script(src) {
  return new Promise((resolve, reject) => {
    const element = Object.assign(document.createElement('script'), { src, onload: resolve });
    element.onerror = () => reject(new Error(`no ${src}`));
    document.head.append(element);
  });
}
