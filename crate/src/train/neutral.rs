//! How surprised a model is by ordinary text: what a run made it forget shows there.

use super::evaluation::evaluate;
use super::trainer::prepare;
use crate::Result;
use crate::data::example::Example;
use crate::model::Model;
use crate::peft::Peft;
use crate::settings::config::{Method, RunConfig};

/// Texts of ours on nothing in particular, in several styles: no run is about them.
const TEXTS: [&str; 6] = [
    "The library opens at nine on weekdays and at ten on Saturdays. Books may be kept for four weeks, and a reader who needs \
     more time can ask for it at the desk or by telephone.",
    "To make the soup, cut two onions and a carrot into small pieces and cook them slowly in a little oil. Add a litre of water, \
     salt and a bay leaf, and let it simmer for half an hour.",
    "Water boils at a lower temperature on a mountain than by the sea, because there is less air above it and so less pressure. \
     That is why rice takes longer to cook in a hut high up.",
    "She closed the window, for the rain had begun again, and sat down at the table with the letter. It was short, and she read \
     it twice before she put it back into its envelope.",
    "def mean(numbers):\n    \"\"\"Returns the average of a list of numbers.\"\"\"\n    if not numbers:\n        return 0\n    return \
     sum(numbers) / len(numbers)\n",
    "The committee met on Tuesday to discuss the budget for the coming year. After a long debate the members agreed to repair the \
     bridge first and to build the new playground in spring.",
];

/// The loss on ordinary text, in nats a token, of the model alone or with an adapter.
///
/// # Errors
/// As [`evaluate`].
pub async fn neutral_loss(model: &Model, peft: Option<&dyn Peft>) -> Result<f64> {
    let texts = TEXTS.iter().enumerate().map(|(line, text)| (line + 1, Example::Text { text: (*text).into() }));
    let examples: Vec<_> = texts.collect();
    let rendered = prepare(model, &RunConfig::new(Method::Lora), "ordinary text", &examples)?;
    let losses = evaluate(model, peft, &rendered).await?;
    let tokens: usize = losses.iter().map(|text| text.tokens).sum();
    Ok(losses.iter().map(|text| text.loss * text.tokens as f64).sum::<f64>() / tokens as f64)
}
