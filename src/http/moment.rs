//! The state that a request is about: the present one, or that of an LSN it names.

use std::sync::Arc;

use warp::http::Method;

use super::App;
use super::error::Error;
use super::request::Query;
use super::router::Route;
use crate::chunks;
use crate::domain::Lsn;
use crate::engine::Handle;
use crate::views::Published;

/// The parameter.
const AT: &str = "at";

/// What there is to read from.
#[derive(Clone)]
pub(super) enum Moment {
    /// What is newest at each look.
    Present(Handle),
    /// What was newest then, for ever.
    Past(Arc<Published>),
}

impl Moment {
    /// What a request asks for. Only answers from the views can be of another time.
    pub(super) async fn of(app: &App, route: &Route, query: Query<'_>) -> Result<Self, Error> {
        let at: Option<Lsn> = if looks_back(route) { query.parse(AT, "an LSN")? } else { None };
        Ok(match at {
            None => Self::Present(app.engine.clone()),
            Some(lsn) => Self::Past(app.engine.at(lsn).await?),
        })
    }

    /// Looks at the state. In the present the writer waits: copy out the little that is needed.
    pub(super) fn read<T>(&self, look: impl FnOnce(&Published) -> T) -> T {
        match self {
            Self::Present(engine) => engine.read(look),
            Self::Past(state) => look(state),
        }
    }

    /// The LSN of a past one.
    pub(super) fn past(&self) -> Option<Lsn> {
        match self {
            Self::Present(_) => None,
            Self::Past(state) => Some(state.lsn()),
        }
    }

    /// What was loaded; of the past it may be gone, which is no failure then.
    pub(super) fn unless_gone<T>(&self, loaded: Result<T, Error>) -> Result<Option<T>, Error> {
        match loaded {
            Err(Error::Chunks(chunks::Error::Missing(_))) if self.past().is_some() => Ok(None),
            loaded => loaded.map(Some),
        }
    }

    /// The same where there is no answer without it.
    pub(super) fn or_gone<T>(&self, loaded: Result<T, Error>) -> Result<T, Error> {
        match loaded {
            Err(Error::Chunks(chunks::Error::Missing(chunk))) if self.past().is_some() => {
                Err(Error::ChunkGone { chunk })
            }
            loaded => loaded,
        }
    }
}

/// Whether a route takes the parameter.
pub(super) fn looks_back(route: &Route) -> bool {
    let below = |root: &str| route.pattern.starts_with(root);
    route.method == Method::GET
        && (below("/compute/workers") || below("/compute/jobs") || below("/compute/queues"))
}

/// Whether a query asks for the past.
pub(super) fn is_named(query: Query<'_>) -> bool {
    query.text(AT).is_some()
}
