//! That something has just stopped working, or works again: whoever judges need not wait for the
//! next evaluation to see it.
//!
//! Invariant: news that come while nobody looks are found at the next look.

use std::sync::Arc;

use tokio::sync::watch;

/// Metrics that say whether something works. A change of any other waits for the evaluation that is
/// planned: it may change with every scrape.
pub const TELLING: [&str; 4] =
    ["up", "veilleur_agent_up", "veilleur_check_hard_status", "probe_success"];

/// Where news are told. Clones share it.
#[derive(Clone, Debug)]
pub struct News(Arc<watch::Sender<()>>);

/// Who waits for news.
#[derive(Debug)]
pub struct Listener {
    news: Option<watch::Receiver<()>>,
}

impl Default for News {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(())))
    }
}

impl News {
    /// A series of a [`TELLING`] metric has another value.
    pub fn tell(&self) {
        self.0.send_replace(());
    }

    /// Waits for what is told from now on; for nothing, if none of the metrics that `names` are is
    /// a telling one.
    pub fn listen<'a>(&self, mut names: impl Iterator<Item = &'a str>) -> Listener {
        let listens = names.any(|name| TELLING.contains(&name));
        Listener { news: listens.then(|| self.0.subscribe()) }
    }
}

impl Listener {
    /// Waits for news since the last [`Listener::caught_up`]. May be dropped while it waits.
    pub async fn wait(&mut self) {
        if let Some(news) = &mut self.news
            && news.changed().await.is_ok()
        {
            return;
        }
        std::future::pending().await
    }

    /// Everything that was told until now is known.
    pub fn caught_up(&mut self) {
        if let Some(news) = &mut self.news {
            news.mark_unchanged();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn has_news(listener: &mut Listener) -> bool {
        let poll = pin!(listener.wait()).poll(&mut Context::from_waker(Waker::noop()));
        poll == Poll::Ready(())
    }

    #[test]
    fn news_are_told_once_and_to_those_who_listen() {
        let news = News::default();
        let mut listener = news.listen(["app_errors", "up"].into_iter());
        let mut deaf = news.listen(["app_errors", "upper"].into_iter());
        assert!(!has_news(&mut listener));
        news.tell();
        news.tell();
        assert!(has_news(&mut listener) && !has_news(&mut listener));
        assert!(!has_news(&mut deaf));
        news.tell();
        listener.caught_up();
        assert!(!has_news(&mut listener));
    }
}
