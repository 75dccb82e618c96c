//! A language model that judges answers by principles in plain words (Bai et al. 2022, arXiv:2212.08073; Lee et al. 2023,
//! arXiv:2309.00267): which of two is the better one, or a grade from 1 to 10. It writes nothing: what it would say is read
//! from the probabilities of its first token.

use std::rc::Rc;

use super::answer::{Answer, Earned, Reward};
use crate::generate::{Generator, Start, chat_ids};
use crate::model::Model;
use crate::text::Message;
use crate::{Error, Result};

/// Questions that it reads at once.
const AT_ONCE: usize = 8;

/// The least probability of all verdicts together: below it the model would have said something else.
const LEAST: f64 = 0.01;

/// The highest grade.
const BEST: usize = 10;

/// A model that judges, by principles.
pub struct Judge {
    model: Rc<Model>,
    principles: String,
    /// The tokens of the two names of answers.
    names: [u32; 2],
    /// The tokens "1" to "9".
    digits: Vec<u32>,
    /// The token "0", which makes a ten of a one.
    zero: u32,
    generator: Option<(usize, Generator<Rc<Model>>)>,
}

/// Which of two answers is the better one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Verdict {
    /// The probability that the first is, by both orders in which they were shown.
    pub first: f64,
    /// How much more probable than half an answer is for being shown first.
    pub position_bias: f64,
}

/// Two answers to a prompt.
#[derive(Debug, Clone, Copy)]
pub struct Duel<'a> {
    /// What was asked.
    pub prompt: &'a str,
    /// The answers.
    pub answers: [&'a str; 2],
}

impl Judge {
    /// A judge that goes by these principles.
    ///
    /// # Errors
    /// [`Error::Config`] for no principles, or a model whose tokenizer has no tokens for the verdicts; [`Error::Format`] for
    /// one without a chat template.
    pub fn new(model: &Rc<Model>, principles: &str) -> Result<Self> {
        let wrong =
            |what: &str, help: &str| Error::Config { field: "judge".into(), what: what.into(), help: help.into() };
        if principles.trim().is_empty() {
            return Err(wrong("there are no principles to judge by", "write in plain words what makes an answer good"));
        }
        let token = |text: &str| match model.tokenizer.encode(text, false)?[..] {
            [id] => Ok(id),
            _ => Err(wrong(&format!("{text:?} is no token of this model"), "let another model judge")),
        };
        let digits = (1..BEST).map(|digit| token(&digit.to_string())).collect::<Result<Vec<_>>>()?;
        let (names, zero) = ([token("A")?, token("B")?], token("0")?);
        // Whether it has a template, too.
        chat_ids(model, &[Message::new("user", "A")])?;
        Ok(Self { model: model.clone(), principles: principles.trim().into(), names, digits, zero, generator: None })
    }

    /// Which of two answers is the better one, of each duel; `None` where the judge would say neither, or where the answers
    /// are too long for it.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device failed.
    pub async fn compare(&mut self, duels: &[Duel<'_>]) -> Result<Vec<Option<Verdict>>> {
        let ask = |prompt: &str, [a, b]: [&str; 2]| {
            format!(
                "{}\n\nA question and two answers to it follow.\n\nQuestion:\n{prompt}\n\nAnswer A:\n{a}\n\nAnswer B:\n{b}\n\n\
                 Which answer is better by the principles above? Say A or B, and nothing else.",
                self.principles
            )
        };
        let orders = duels
            .iter()
            .flat_map(|Duel { prompt, answers: [one, other] }| [ask(prompt, [one, other]), ask(prompt, [other, one])]);
        let questions: Vec<String> = orders.collect();
        let mut found = Vec::with_capacity(questions.len());
        for questions in questions.chunks(AT_ONCE) {
            found.extend(self.probabilities(questions, None).await?);
        }
        // The log-odds of the answer that is shown first.
        let odds = |probabilities: &Option<Vec<f64>>| {
            let [a, b] = self.names.map(|id| probabilities.as_ref().map(|all| all[id as usize]));
            let (a, b) = (a?, b?);
            (a + b >= LEAST).then(|| (a / b).ln())
        };
        // What being shown first is worth adds to the log-odds in both orders, and is gone from their difference.
        let verdict = |orders: &[Option<Vec<f64>>]| {
            let (shown, turned) = (odds(&orders[0])?, odds(&orders[1])?);
            let probability = |odds: f64| (1.0 + (-odds).exp()).recip();
            Some(Verdict {
                first: probability((shown - turned) / 2.0),
                position_bias: probability((shown + turned) / 2.0) - 0.5,
            })
        };
        Ok(found.chunks(2).map(verdict).collect())
    }

    /// The grade of each answer, from 1 to 10: the expected value; `None` where the judge would give none, or where the
    /// answer is too long for it.
    ///
    /// # Errors
    /// As [`Judge::compare`].
    pub async fn grade(&mut self, answers: &[(&str, &str)]) -> Result<Vec<Option<f64>>> {
        let ask = |&(prompt, answer): &(&str, &str)| {
            format!(
                "{}\n\nA question and an answer to it follow.\n\nQuestion:\n{prompt}\n\nAnswer:\n{answer}\n\nHow good is the \
                 answer by the principles above, from 1 (worst) to {BEST} (best)? Say the number, and nothing else.",
                self.principles
            )
        };
        let questions: Vec<String> = answers.iter().map(ask).collect();
        let mut grades = Vec::with_capacity(questions.len());
        for questions in questions.chunks(AT_ONCE) {
            let first = self.probabilities(questions, None).await?;
            let after_one = self.probabilities(questions, Some(self.digits[0])).await?;
            for (first, after_one) in first.into_iter().zip(after_one) {
                grades.push(
                    first.zip(after_one).and_then(|(first, then)| expected(&self.digits, self.zero, &first, &then)),
                );
            }
        }
        Ok(grades)
    }

    /// The probabilities of the token that begins the answer to each question, or of the one behind `said`; `None` for a
    /// question that has no room.
    async fn probabilities(&mut self, questions: &[String], said: Option<u32>) -> Result<Vec<Option<Vec<f64>>>> {
        let ids = |question: &String| -> Result<Vec<u32>> {
            let mut ids = chat_ids(&self.model, &[Message::new("user", question)])?;
            ids.extend(said);
            Ok(ids)
        };
        let ids = questions.iter().map(ids).collect::<Result<Vec<_>>>()?;
        let positions = self.model.config.context_length;
        let longest = ids.iter().map(Vec::len).filter(|len| *len < positions).max().unwrap_or_default();
        let generator = match self.generator.take().filter(|(room, _)| *room > longest) {
            Some(generator) => generator,
            None => {
                let room = (longest + 1).next_power_of_two().min(positions);
                (room, Generator::new(self.model.clone(), None, room, AT_ONCE)?)
            }
        };
        let (_, generator) = self.generator.insert(generator);
        let fits = ids.iter().filter(|ids| ids.len() <= longest).enumerate();
        let starts: Vec<Start> = fits.map(|(slot, ids)| Start { slot, ids, key: [0; 2] }).collect();
        let logits = generator.logits(&starts).await?;
        let mut found = logits.chunks(self.model.config.vocab).map(softmax);
        Ok(ids.iter().map(|ids| if ids.len() <= longest { found.next() } else { None }).collect())
    }
}

/// The expected grade, of the probabilities of the first token, and of the one behind a one: a zero there makes a ten. `None`
/// where all grades together are improbable.
fn expected(digits: &[u32], zero: u32, first: &[f64], after_one: &[f64]) -> Option<f64> {
    let mut grades: Vec<f64> = digits.iter().map(|&digit| first[digit as usize]).collect();
    let ten = grades[0] * after_one[zero as usize];
    grades[0] -= ten;
    grades.push(ten);
    let all: f64 = grades.iter().sum();
    let sum: f64 = grades.iter().zip(1..).map(|(probability, grade)| probability * f64::from(grade)).sum();
    (all >= LEAST).then(|| sum / all)
}

fn softmax(logits: &[f32]) -> Vec<f64> {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut all: Vec<f64> = logits.iter().map(|&logit| f64::from(logit - top).exp()).collect();
    let sum: f64 = all.iter().sum();
    all.iter_mut().for_each(|probability| *probability /= sum);
    all
}

/// What a judge makes of answers in reinforcement.
pub struct JudgeReward {
    name: String,
    judge: Judge,
    /// By duels with the others to the same prompt, not by grades.
    duels: bool,
}

impl JudgeReward {
    /// A reward of this name: the grade of each answer, or with `duels` how probably it is the better one, on average over
    /// the others to the same prompt.
    pub fn new(name: &str, judge: Judge, duels: bool) -> Self {
        Self { name: name.into(), judge, duels }
    }

    async fn won(&mut self, answers: &[Answer<'_>]) -> Result<Vec<Option<f64>>> {
        let mut won = Vec::with_capacity(answers.len());
        for group in answers.chunk_by(|one, other| one.prompt_ids == other.prompt_ids) {
            let pairs: Vec<[usize; 2]> =
                (0..group.len()).flat_map(|one| (one + 1..group.len()).map(move |other| [one, other])).collect();
            let duel = |pair: &[usize; 2]| Duel { prompt: group[0].prompt, answers: pair.map(|one| group[one].text) };
            let verdicts = self.judge.compare(&pairs.iter().map(duel).collect::<Vec<_>>()).await?;
            let mut sums = vec![(0.0, 0); group.len()];
            for ([one, other], verdict) in pairs.into_iter().zip(verdicts) {
                if let Some(Verdict { first, .. }) = verdict {
                    for (at, probability) in [(one, first), (other, 1.0 - first)] {
                        sums[at] = (sums[at].0 + probability, sums[at].1 + 1);
                    }
                }
            }
            won.extend(sums.into_iter().map(|(sum, count)| (count > 0).then(|| sum / f64::from(count))));
        }
        Ok(won)
    }
}

impl Reward for JudgeReward {
    fn name(&self) -> &str {
        &self.name
    }

    fn judge<'a>(&'a mut self, answers: &'a [Answer<'a>]) -> Earned<'a> {
        Box::pin(async move {
            if self.duels {
                return self.won(answers).await;
            }
            let pairs: Vec<(&str, &str)> = answers.iter().map(|answer| (answer.prompt, answer.text)).collect();
            self.judge.grade(&pairs).await
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grade_is_what_is_expected() {
        // Tokens 0 to 9 are the digits, and 10 is some word.
        let digits: Vec<u32> = (1..10).collect();
        let mut first = vec![0.0; 11];
        (first[1], first[3], first[10]) = (0.4, 0.2, 0.4);
        let mut then = vec![0.0; 11];
        (then[0], then[10]) = (0.75, 0.25);
        // 0.1 for 1, 0.2 for 3, 0.3 for 10.
        let grade = expected(&digits, 0, &first, &then).expect("it gives grades");
        assert!((grade - (0.1 + 0.6 + 3.0) / 0.6).abs() < 1e-12, "{grade}");
        first = vec![0.0; 11];
        (first[1], first[10]) = (0.009, 0.991);
        assert_eq!(expected(&digits, 0, &first, &then), None, "it would say something else");
    }

    #[test]
    fn probabilities_sum_to_one() {
        let found = softmax(&[1.0, 3.0, -1e4]);
        assert!((found.iter().sum::<f64>() - 1.0).abs() < 1e-12 && (found[1] / found[0] - 2.0_f64.exp()).abs() < 1e-9);
    }
}
