import { announcement } from '../store';
import { DeviceBanner, ErrorBanner } from './Banners';
import { CutOff } from './CutOff';
import { Header } from './Header';
import { Model } from './Model';
import { Teach } from './Teach';
import { Train } from './Train';
import { Try } from './Try';

export function App() {
  return (
    <>
      <a class="skip" href="#model">
        Skip to the first step
      </a>
      <Header />
      <main>
        <div class="intro">
          <h1>Teach a language model your way, in this tab.</h1>
          <p>
            Show it a few examples, train on your own GPU, compare before and after, and take the result with you. What you load
            and type stays on this machine.
          </p>
        </div>
        <DeviceBanner />
        <CutOff />
        <ErrorBanner />
        <Model />
        <Teach />
        <Train />
        <Try />
      </main>
      <div class="visually-hidden" role="status" aria-live="polite">
        {announcement}
      </div>
    </>
  );
}
