import { useRef } from 'preact/hooks';
import { seeRows, takeBack } from '../actions/preferences';
import { made, nouns, type Made } from '../store';
import { Button } from './bits';

/** What the latest press made in a table that may be out of sight, with the way there and the way back. */
export function MadeNote({ at }: Pick<Made, 'at'>) {
  const note = useRef<HTMLDivElement>(null);
  const current = made.value;
  if (current?.at !== at) return null;
  const undo = () => {
    // The button that was pressed goes.
    note.current?.querySelector('button')?.focus();
    takeBack(current);
  };
  return (
    <div class="made" data-testid="made" ref={note}>
      <p>{current.words}</p>
      <Button data-testid="made-see" onClick={() => seeRows(current)}>
        See the {nouns[current.table]}s
      </Button>
      {current.rows.length > 0 && (
        <Button look="quiet" icon="undo" data-testid="made-undo" onClick={undo}>
          Undo
        </Button>
      )}
    </div>
  );
}
