//! Recipients, addresses and keys that are templates: rendered for each message, checked against
//! what the configuration allows, and only then given to the service.
//!
//! ```text
//! entry with templates ──render──▶ allowed? ──▶ entry without ──build──▶ notifier ──▶ service
//!                                     └─ no ──▶ refused: the fallback hears, with the fault
//! ```
//!
//! Invariant: no alert leads a message to where the configuration does not (S4, X18): what is
//! rendered is on the receiver's list, or depends on nothing but labels that routes name.

mod allowed;
mod fields;

pub use allowed::{Allowed, Named};
pub use fields::{Aim, Aims, Field};

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use base::diagnostic::{Diagnostics, Place, Spanned};

use super::notifier::{DeliveryError, Notification, Notifier, Receipt, excerpt};
use super::texts::{Renderer, Text, one_line};
use crate::template::{Escape, Templates};

/// How many notifiers are kept, each with its connection, for recipients that were rendered lately;
/// the oldest gives way.
const MOST_KEPT: usize = 16;

/// Makes the notifier of an entry without templates.
type Build<C, N> = dyn Fn(&C, &mut Diagnostics) -> Option<N> + Send + Sync;

/// A notifier whose recipients are templates.
struct Aimed<C, N> {
    entry: C,
    texts: Vec<Templated>,
    allowed: Allowed,
    templates: Arc<Templates>,
    build: Box<Build<C, N>>,
    /// That of the entry with words in place of its templates: what it is, and how it reads.
    likeness: N,
    kept: Mutex<VecDeque<(Vec<String>, Arc<N>)>>,
}

/// A setting that is a template.
#[derive(Clone, Debug)]
struct Templated {
    /// Which of the entry's aims it is.
    index: usize,
    name: &'static str,
    kind: Aim,
    text: Text,
    is_secret: bool,
}

impl<C, N> fmt::Debug for Aimed<C, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aimed").field("texts", &self.texts).finish_non_exhaustive()
    }
}

/// The notifier of `entry`, which stands at `place`; what is wrong with it is reported. Where a recipient is a template and
/// the receiver has no list that is a fault, but for a file of Alertmanager's: there it is noted.
pub fn aimed<C, N>(
    (entry, place): (&C, Place),
    allowed: &Allowed,
    templates: &Arc<Templates>,
    diagnostics: &mut Diagnostics,
    build: impl Fn(&C, &mut Diagnostics) -> Option<N> + Send + Sync + 'static,
) -> Option<Arc<dyn Notifier>>
where
    C: Aims + Clone + Send + Sync + 'static,
    N: Notifier + 'static,
{
    let mut plain = entry.clone();
    let (mut texts, mut parsed) = (Vec::new(), true);
    for (index, mut field) in plain.aims().into_iter().enumerate() {
        if !field.text().contains("{{") {
            continue;
        }
        let written = Spanned { value: field.text().to_owned(), place: field.place() };
        allowed.check(field.name, &written, diagnostics);
        let (name, kind, is_secret) = (field.name, field.kind, field.is_secret());
        match Text::build(name, Some(&written), "", diagnostics) {
            Some(text) => texts.push(Templated { index, name, kind, text, is_secret }),
            None => parsed = false,
        }
        field.set(kind.word());
    }
    let Some(likeness) = build(&plain, diagnostics) else {
        if diagnostics.is_empty() {
            // Nobody would be told, and nobody would know.
            diagnostics.report(place, "this entry lacks something that it needs");
        }
        return None;
    };
    if texts.is_empty() {
        return parsed.then(|| Arc::new(likeness) as Arc<dyn Notifier>);
    }
    Some(Arc::new(Aimed {
        entry: entry.clone(),
        texts,
        allowed: allowed.clone(),
        templates: Arc::clone(templates),
        build: Box::new(build),
        likeness,
        kept: Mutex::default(),
    }))
}

impl<C: Aims + Clone, N: Notifier> Aimed<C, N> {
    /// What stands in the place of each template for this message.
    fn rendered(&self, notification: &Notification) -> Result<Vec<String>, DeliveryError> {
        let renderer = Renderer::new(&self.templates, notification, Escape::Text);
        let known = self.allowed.known_only(notification);
        let by_known = Renderer::new(&self.templates, &known, Escape::Text);
        self.texts
            .iter()
            .map(|templated| {
                let Templated { name, text, .. } = templated;
                let failed =
                    |error| DeliveryError::permanent(format!("the template of `{name}`: {error}"));
                let rendered = renderer.rendered(text).map_err(failed)?.trim().to_owned();
                let is_known = || by_known.rendered(text).is_ok_and(|text| text.trim() == rendered);
                let allowed = match self.allowed.is_listed() {
                    true => self.allowed.has(templated.kind, &rendered),
                    false => is_known(),
                };
                if allowed {
                    return Ok(rendered);
                }
                let shown = match templated.is_secret {
                    true => "<secret>".to_owned(),
                    false => excerpt(&one_line(&rendered, 200)),
                };
                let reason =
                    format!("an alert makes `{name}` `{shown}`, {}", self.allowed.why_not());
                Err(DeliveryError::permanent(reason))
            })
            .collect()
    }

    fn notifier(&self, rendered: Vec<String>) -> Result<Arc<N>, DeliveryError> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, notifier)) = kept.iter().find(|(texts, _)| *texts == rendered) {
            return Ok(Arc::clone(notifier));
        }
        let mut entry = self.entry.clone();
        let mut fields = entry.aims();
        for (templated, text) in self.texts.iter().zip(&rendered) {
            if let Some(field) = fields.get_mut(templated.index) {
                field.set(text);
            }
        }
        drop(fields);
        let mut faults = Diagnostics::new("the receiver");
        let built = (self.build)(&entry, &mut faults).filter(|_| faults.is_empty());
        let Some(notifier) = built.map(Arc::new) else {
            // The places are those of the templates; the text may hold what is secret.
            let messages = faults.faults();
            let message = messages.first().map_or("it cannot be built", |fault| fault.message());
            let message = excerpt(message);
            return Err(DeliveryError::permanent(format!("with these recipients: {message}")));
        };
        if kept.len() >= MOST_KEPT {
            kept.pop_front();
        }
        kept.push_back((rendered, Arc::clone(&notifier)));
        Ok(notifier)
    }
}

#[async_trait]
impl<C, N> Notifier for Aimed<C, N>
where
    C: Aims + Clone + Send + Sync,
    N: Notifier,
{
    fn integration(&self) -> &'static str {
        self.likeness.integration()
    }

    fn preview(&self, notification: &Notification) -> String {
        self.likeness.preview(notification)
    }

    async fn notify(&self, notification: &Notification) -> Result<Receipt, DeliveryError> {
        let notifier = self.notifier(self.rendered(notification)?)?;
        notifier.notify(notification).await
    }
}

#[cfg(test)]
mod tests;
