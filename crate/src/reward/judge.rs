//! A language model that judges answers by principles in plain words (Bai et al. 2022, arXiv:2212.08073; Lee et al. 2023,
//! arXiv:2309.00267): which of two is the better one, or a grade from 1 to 10. It writes nothing: its reply is begun for it, and
//! how it would go on is read from the probabilities of the next token.

use std::collections::HashSet;
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
/// How a reply begins, and the names that it may go on with. A small model that begins by itself seldom names an answer at once.
const COMPARES: (&str, [&str; 2]) = ("The better answer is Answer", [" A", " B"]);
/// The same of a grade.
const GRADES: (&str, [&str; 9]) = ("Grade:", [" 1", " 2", " 3", " 4", " 5", " 6", " 7", " 8", " 9"]);
const TEN: &str = "Grade: 10";

/// A model that judges, by principles.
pub struct Judge {
    model: Rc<Model>,
    principles: String,
    /// For the two names of answers.
    names: Reply,
    /// For 1 to 9.
    grades: Reply,
    /// The tokens of a ten: one of its own, or those of a one and a zero.
    ten: Vec<u32>,
    generator: Option<(usize, Generator<Rc<Model>>)>,
}

/// A reply that is begun, and the tokens that it may go on with.
struct Reply {
    begun: Vec<u32>,
    next: Vec<u32>,
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
        let encode = |text: &str| model.tokenizer.encode(text, false);
        let reply = |begin: &str, names: &[&str]| -> Result<Reply> {
            let all = names.iter().map(|name| encode(&format!("{begin}{name}"))).collect::<Result<Vec<_>>>()?;
            let begun = all[0][..all[0].len() - 1].to_vec();
            let next: Vec<u32> = all.iter().filter_map(|ids| ids.strip_prefix(&begun[..])?.first().copied()).collect();
            let are_tokens = all.iter().all(|ids| ids.len() == begun.len() + 1);
            if next.len() < all.len() || !are_tokens || next.iter().collect::<HashSet<_>>().len() < next.len() {
                return Err(wrong(&format!("{names:?} are no tokens of this model"), "let another model judge"));
            }
            Ok(Reply { begun, next })
        };
        let (names, grades) = (reply(COMPARES.0, &COMPARES.1)?, reply(GRADES.0, &GRADES.1)?);
        let ten = match encode(TEN)?.strip_prefix(&grades.begun[..]) {
            Some([ten]) => vec![*ten],
            Some([one, zero]) if *one == grades.next[0] => vec![*one, *zero],
            _ => return Err(wrong("\"10\" is no token of this model, nor two", "let another model judge")),
        };
        // Whether it has a template, too.
        chat_ids(model, &[Message::new("user", "A")])?;
        Ok(Self { model: model.clone(), principles: principles.trim().into(), names, grades, ten, generator: None })
    }

    /// Which of two answers is the better one, of each duel; `None` where the judge would say neither, or where the answers
    /// are too long for it.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device failed.
    pub async fn compare(&mut self, duels: &[Duel<'_>]) -> Result<Vec<Option<Verdict>>> {
        let ask = |prompt: &str, [a, b]: [&str; 2]| {
            // A small model goes by what was said last.
            format!(
                "Question:\n{prompt}\n\nAnswer A:\n{a}\n\nAnswer B:\n{b}\n\n{}\n\nWhich answer is better by that, Answer A or Answer B?",
                self.principles
            )
        };
        let orders = duels
            .iter()
            .flat_map(|Duel { prompt, answers: [one, other] }| [ask(prompt, [one, other]), ask(prompt, [other, one])]);
        let questions: Vec<String> = orders.collect();
        let mut found = Vec::with_capacity(questions.len());
        let begun = self.names.begun.clone();
        for questions in questions.chunks(AT_ONCE) {
            found.extend(self.probabilities(questions, &begun).await?);
        }
        // The log-odds of the answer that is shown first.
        let odds = |probabilities: &Option<Vec<f64>>| {
            let all = probabilities.as_ref()?;
            let [a, b] = [0, 1].map(|name| all[self.names.next[name] as usize]);
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
                "Question:\n{prompt}\n\nAnswer:\n{answer}\n\n{}\n\nHow good is the answer by that, from 1 (worst) to {BEST} (best)?",
                self.principles
            )
        };
        let questions: Vec<String> = answers.iter().map(ask).collect();
        let mut grades = Vec::with_capacity(questions.len());
        let begun = self.grades.begun.clone();
        let one = [&begun[..], &self.ten[..1]].concat();
        for questions in questions.chunks(AT_ONCE) {
            let first = self.probabilities(questions, &begun).await?;
            let then = if self.ten.len() > 1 { self.probabilities(questions, &one).await? } else { first.clone() };
            let expect = |(first, then): (Option<Vec<f64>>, Option<Vec<f64>>)| {
                expected(&self.grades.next, &self.ten, &first?, &then?)
            };
            grades.extend(first.into_iter().zip(then).map(expect));
        }
        Ok(grades)
    }

    /// The probabilities of the token that goes on with a reply to each question that was begun like this; `None` for a question
    /// that has no room.
    async fn probabilities(&mut self, questions: &[String], begun: &[u32]) -> Result<Vec<Option<Vec<f64>>>> {
        let ids = |question: &String| -> Result<Vec<u32>> {
            let mut ids = chat_ids(&self.model, &[Message::new("user", question)])?;
            ids.extend(begun);
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

/// The expected grade, of the probabilities of the tokens of 1 to 9, and of the last token of a ten, whose first may be that of a
/// one. `None` where all grades together are improbable.
fn expected(digits: &[u32], ten: &[u32], first: &[f64], after_one: &[f64]) -> Option<f64> {
    let mut grades: Vec<f64> = digits.iter().map(|&digit| first[digit as usize]).collect();
    match ten {
        [ten] => grades.push(first[*ten as usize]),
        _ => {
            let ten = grades[0] * after_one[ten[1] as usize];
            grades[0] -= ten;
            grades.push(ten);
        }
    }
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
        let grade = expected(&digits, &[1, 0], &first, &then).expect("it gives grades");
        assert!((grade - (0.1 + 0.6 + 3.0) / 0.6).abs() < 1e-12, "{grade}");
        // Where a ten is a token of its own, that is 10.
        let grade = expected(&digits, &[10], &first, &first).expect("it gives grades");
        assert!((grade - (0.4 + 0.6 + 4.0)).abs() < 1e-12, "{grade}");
        first = vec![0.0; 11];
        (first[1], first[10]) = (0.009, 0.991);
        assert_eq!(expected(&digits, &[1, 0], &first, &then), None, "it would say something else");
    }

    #[test]
    fn probabilities_sum_to_one() {
        let found = softmax(&[1.0, 3.0, -1e4]);
        assert!((found.iter().sum::<f64>() - 1.0).abs() < 1e-12 && (found[1] / found[0] - 2.0_f64.exp()).abs() < 1e-9);
    }
}
