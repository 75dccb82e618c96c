import { adapterOfRun, askHeldOut, canAskHeldOut, downloadHeldOut, isExact, isReady } from '../actions/held-out';
import { stopAsking } from '../actions/ask';
import { loss, plural } from '../format';
import { isBusy } from '../run';
import { asking, heldOut, run, type HeldOut as Answers, type HeldOutRow } from '../store';
import { writes } from '../store';
import { Button } from './bits';

/** What was held out: each question, what is expected, and what the model says before and after. */
export function HeldOut() {
  const adapter = adapterOfRun();
  if (isBusy(run.value.state) || !canAskHeldOut() || !isReady() || !adapter || !writes(adapter)) return null;
  const told = heldOut.value;
  if (!told) {
    return (
      <p class="held-ask">
        <Button data-testid="held-out-ask" disabled={asking.value} onClick={() => void askHeldOut()}>
          Ask what was held out, before and after
        </Button>
      </p>
    );
  }
  const { rows, state } = told;
  const right = (side: 'base' | 'tuned') => rows.filter((row) => isExact(row[side], row)).length;
  return (
    <section class="held-out" data-testid="held-out" data-state={state} aria-label="What was held out, before and after">
      <h3>What was held out</h3>
      <p role="status">
        {state === 'asking'
          ? `Asking: ${rows.filter(({ tuned }) => tuned !== null).length} of ${plural(rows.length, 'question')}…`
          : `Word for word right: ${right('base')} of ${rows.length} before, ${right('tuned')} after.`}
        {told.neutral && ` ${forgotten(told.neutral)}`}
      </p>
      <div class="held-scroll" tabIndex={0} role="group" aria-label="Table of held-out questions">
        <table>
          <thead>
            <tr>
              {['Question', 'Expected', 'Before', 'After'].map((head) => (
                <th key={head} scope="col">
                  {head}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {rows.map((row, index) => (
              <tr key={index}>
                <th scope="row" dir="auto">
                  {row.question}
                </th>
                <td dir="auto">{row.expected}</td>
                <Said answer={row.base} row={row} />
                <Said answer={row.tuned} row={row} />
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <div class="row">
        {state === 'asking' ? (
          <Button icon="stop" onClick={() => void stopAsking()}>
            Stop
          </Button>
        ) : (
          <>
            <Button icon="download" data-testid="held-out-csv" onClick={downloadHeldOut}>
              Download CSV
            </Button>
            <Button look="quiet" disabled={asking.value} onClick={() => void askHeldOut()}>
              Ask again
            </Button>
          </>
        )}
      </div>
    </section>
  );
}

function Said({ answer, row }: { answer: string | null; row: HeldOutRow }) {
  const exact = isExact(answer, row);
  return (
    <td dir="auto" class={exact ? 'exact' : ''}>
      {answer === null ? '…' : answer.trim() || 'nothing'}
      {exact && <b title="Word for word as expected"> ✓<span class="visually-hidden"> exact</span></b>}
    </td>
  );
}

/** How much worse ordinary text is read, in words. A tenth of a nat is what nobody sees. */
function forgotten({ base, tuned }: NonNullable<Answers['neutral']>): string {
  const figures = `(loss ${loss(base)} before, ${loss(tuned)} after)`;
  const worse = tuned - base;
  if (worse < 0.1) return `Ordinary text it reads as well as before ${figures}.`;
  if (worse < 0.5) return `Ordinary text surprises it somewhat more than before ${figures}: a little was forgotten.`;
  return `Ordinary text surprises it much more than before ${figures}: it has forgotten some of what it could. Fewer steps or a lower learning rate keep more.`;
}
