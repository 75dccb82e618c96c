//! A step that is left in the middle, and taken up there again.

use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use pollster::block_on;
use tunesmith::data::import::import_jsonl;
use tunesmith::model::Model;
use tunesmith::peft::{self, Peft, stream};
use tunesmith::settings::config::{Method, Objective, RunConfig};
use tunesmith::train::{Trainer, prepare};
use tunesmith_tests::models;

const ROWS: &str = "{\"prompt\":\"a\",\"chosen\":\"b c d\",\"rejected\":\"c\"}\n{\"prompt\":\"d\",\"chosen\":\"e\",\"rejected\":\"f g\"}\n";

fn run(model: &Rc<Model>, objective: Objective) -> Trainer {
    let mut config = RunConfig::defaults(Method::Lora, objective);
    (config.max_steps, config.gradient_accumulation_steps, config.learning_rate) = (3, 8, 1e-2);
    let peft: Rc<dyn Peft> = block_on(peft::create(model, &config)).unwrap().into();
    let text = match objective {
        Objective::Sft => {
            ROWS.replace("chosen", "completion").replace(",\"rejected\":\"c\"", "").replace(",\"rejected\":\"f g\"", "")
        }
        _ => ROWS.into(),
    };
    let rows = prepare(model, &config, "p", &import_jsonl("p", &text.repeat(4)).examples).unwrap();
    Trainer::new(model.clone(), peft, &config, rows.clone(), rows).unwrap()
}

/// What a checkpoint holds.
async fn bytes_of(trainer: &Trainer) -> Vec<Vec<u8>> {
    let files = stream::whole(trainer.checkpoint().await.unwrap()).await.unwrap();
    files.into_iter().map(|file| file.bytes).collect()
}

/// What was trained.
fn weights(trainer: &Trainer) -> Vec<Vec<u8>> {
    block_on(bytes_of(trainer))
}

/// Works on something until it is done, the device as far as it is asked each time. `between` is called before each turn.
fn drive<T>(model: &Model, work: impl Future<Output = T>, mut between: impl FnMut()) -> T {
    let mut work = pin!(work);
    loop {
        between();
        if let Poll::Ready(made) = work.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return made;
        }
        block_on(model.context.wait()).unwrap();
    }
}

#[test]
fn a_step_that_was_left_gives_the_same_bits() {
    for objective in [Objective::Sft, Objective::Dpo, Objective::Kto] {
        let want = {
            let model = Rc::new(models::load(&models::context(), "nano"));
            let mut trainer = run(&model, objective);
            while !trainer.is_done() {
                block_on(trainer.step()).unwrap();
            }
            weights(&trainer)
        };
        let model = Rc::new(models::load(&models::context(), "nano"));
        let turns = model.context.turns().clone();
        turns.watch();
        let mut trainer = run(&model, objective);
        let mut left = 0;
        while !trainer.is_done() {
            let mut hold = Box::pin(turns.hold());
            let mut task = Context::from_waker(Waker::noop());
            drive(&model, trainer.step(), || {
                // Left each time, and taken up when the device has nothing to do any more.
                match hold.as_mut().poll(&mut task) {
                    Poll::Pending => {}
                    Poll::Ready(idle) => {
                        left += usize::from(idle);
                        turns.release();
                        hold = Box::pin(turns.hold());
                    }
                }
            })
            .unwrap();
            drop(hold);
            turns.release();
        }
        assert!(left >= trainer.steps(), "{} was left {left} times", objective.name());
        turns.release();
        let got = drive(&model, bytes_of(&trainer), || {});
        assert_eq!(got, want, "{}", objective.name());
    }
}
