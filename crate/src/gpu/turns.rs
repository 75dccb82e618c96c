//! Work in turns: where somebody watches, submits wait for each other, so that the work can be left between any two of them
//! and taken up there again.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Poll, Waker};

use crate::clock::now_ms;

/// Submits that may be on their way: the device works on one while the other waits for it.
const AHEAD: usize = 2;

/// Holds the work of a device between two submits, and lets it go on.
#[derive(Clone, Default)]
pub struct Turns(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// Whether submits wait for each other at all.
    watched: bool,
    /// Since when the work is to be left, in milliseconds.
    held: Option<f64>,
    /// Whether it is: somebody waits to go on with it.
    left: bool,
    /// Submits on their way.
    ahead: usize,
    /// Milliseconds that work was held so far.
    held_ms: f64,
    wakers: Vec<Waker>,
}

impl Turns {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let wakers = {
            let mut state = self.state();
            change(&mut state);
            std::mem::take(&mut state.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Has submits wait for each other from now on.
    pub fn watch(&self) {
        self.state().watched = true;
    }

    /// Lets all go on for good: the device is lost, and says no more when it is done.
    pub(super) fn give_up(&self) {
        self.change(|state| {
            *state = State { held_ms: state.held_ms, wakers: std::mem::take(&mut state.wakers), ..State::default() };
        });
    }

    /// Leaves the work at the next place where that can be done. Comes with `true` when the device has nothing to do any more, and
    /// with `false` where [`Turns::release`] came first.
    pub async fn hold(&self) -> bool {
        self.change(|state| {
            if state.watched {
                state.held.get_or_insert_with(now_ms);
            }
        });
        poll_fn(|task| {
            let mut state = self.state();
            match state.held {
                None => Poll::Ready(false),
                Some(_) if state.left && state.ahead == 0 => Poll::Ready(true),
                Some(_) => {
                    state.wakers.push(task.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Takes it up again.
    pub fn release(&self) {
        self.change(|state| {
            if let Some(since) = state.held.take().filter(|_| state.left) {
                state.held_ms += now_ms() - since;
            }
            state.left = false;
        });
    }

    /// Milliseconds for which work was held so far.
    pub fn held_ms(&self) -> f64 {
        self.state().held_ms
    }

    /// Comes when the next submit may be made.
    pub async fn next(&self) {
        poll_fn(|task| {
            let (ready, leaves) = {
                let state = self.state();
                let ready = !state.watched || state.held.is_none() && state.ahead < AHEAD;
                (ready, state.held.is_some() && !state.left)
            };
            if ready {
                return Poll::Ready(());
            }
            if leaves {
                self.change(|state| state.left = true);
            }
            self.state().wakers.push(task.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// A submit was made.
    pub(super) fn submitted(&self, queue: &wgpu::Queue) {
        if !self.state().watched {
            return;
        }
        self.change(|state| state.ahead += 1);
        let turns = self.clone();
        queue.on_submitted_work_done(move || turns.change(|state| state.ahead = state.ahead.saturating_sub(1)));
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    fn is_ready(future: impl Future) -> bool {
        pin!(future).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn nobody_waits_where_nobody_watches() {
        let turns = Turns::default();
        let _ = is_ready(turns.hold());
        assert!(is_ready(turns.next()));
    }

    #[test]
    fn submits_wait_for_each_other() {
        let turns = Turns::default();
        turns.watch();
        assert!(is_ready(turns.next()));
        turns.change(|state| state.ahead = AHEAD);
        assert!(!is_ready(turns.next()));
        turns.give_up();
        assert!(is_ready(turns.next()));
    }

    #[test]
    fn work_is_left_and_taken_up_again() {
        let turns = Turns::default();
        turns.watch();
        turns.change(|state| state.ahead = 1);
        let mut held = pin!(turns.hold());
        let mut task = Context::from_waker(Waker::noop());
        assert!(held.as_mut().poll(&mut task).is_pending());
        // Nobody has come to a place where it can be left.
        turns.change(|state| state.ahead = 0);
        assert!(held.as_mut().poll(&mut task).is_pending());
        let mut next = pin!(turns.next());
        assert!(next.as_mut().poll(&mut task).is_pending());
        assert_eq!(held.as_mut().poll(&mut task), Poll::Ready(true));
        turns.release();
        assert!(next.as_mut().poll(&mut task).is_ready());
        assert!(turns.held_ms() >= 0.0);
        // What is let go before it was left is not held.
        let mut held = pin!(turns.hold());
        assert!(held.as_mut().poll(&mut task).is_pending());
        turns.release();
        assert_eq!(held.as_mut().poll(&mut task), Poll::Ready(false));
    }
}
