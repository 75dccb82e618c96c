// Of the page: writes answers, one alone and several at once, and tells how fast.

onmessage = async ({ data: { slots, tokens, rounds } }) => {
  try {
    const { default: init, Session } = await import('/pkg/tunesmith.js');
    await init();
    const session = await Session.create();
    const file = new File([await (await fetch('/model.gguf')).blob()], 'model.gguf');
    await session.load('model.gguf', [file], () => {});
    const messages = [{ role: 'user', content: 'Tell me a long story about a fox, a ship and a lighthouse.' }];
    const rates = Object.fromEntries(slots.map((count) => [count, []]));
    for (let round = 0; round <= rounds; round++) {
      for (const count of slots) {
        const options = { count, max_new_tokens: tokens, temperature: 0, top_p: 1, seed: 0 };
        let [first, last, written] = [0, 0, 0];
        const answers = await session.generate(messages, options, () => {
          last = performance.now();
          first ||= last;
          return true;
        });
        for (const answer of answers) written += answer.tokens;
        if (written < count * tokens) throw new Error('an answer ended early: ask for fewer tokens');
        // The first round compiles. Of the others, what came behind the first token of each.
        if (round) rates[count].push(((written - count) / (last - first)) * 1e3);
      }
    }
    postMessage({ rates });
  } catch (error) {
    postMessage({ error: String(error?.message ?? error) });
  }
};
