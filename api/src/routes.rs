//! A path with all that is known of it: its handlers, their description, and the role that they want.
//!
//! The router and the OpenAPI document are made of the same routes, so neither has what the other lacks, and a handler
//! without a description does not compile as a route.

use std::sync::Arc;

use axum::{Router, middleware::from_fn_with_state, routing::MethodRouter};
use common::config::Role;
use utoipa::openapi::{RefOr, Schema, path::Paths};
use utoipa_axum::router::UtoipaMethodRouter;

use crate::{App, auth};

pub(crate) type Methods = MethodRouter<Arc<App>>;

/// The handlers of one path that want the same role.
pub(crate) struct Route {
    /// The least that a key has to have; None where no key is asked for.
    pub(crate) role: Option<Role>,
    pub(crate) paths: Paths,
    pub(crate) schemas: Vec<(String, RefOr<Schema>)>,
    methods: Methods,
    around: fn(Methods) -> Methods,
}

/// Lets only those pass whose key has at least the role.
pub(crate) fn may(role: Role, described: UtoipaMethodRouter<Arc<App>>) -> Route {
    Route {
        role: Some(role),
        ..anybody(described)
    }
}

/// Asks for no key.
pub(crate) fn anybody((schemas, paths, methods): UtoipaMethodRouter<Arc<App>>) -> Route {
    Route {
        role: None,
        paths,
        schemas,
        methods,
        around: |methods| methods,
    }
}

impl Route {
    /// With a layer that sees the answers to those, too, who may not.
    pub(crate) fn around(self, around: fn(Methods) -> Methods) -> Self {
        Self { around, ..self }
    }

    /// Serves it. A path that ends in a slash is served without that, too.
    pub(crate) fn serve(self, app: &Arc<App>, router: Router<Arc<App>>) -> Router<Arc<App>> {
        let methods = match self.role {
            None => self.methods,
            Some(role) => {
                let state = (Arc::clone(app), role);
                self.methods
                    .route_layer(from_fn_with_state(state, auth::pass))
            }
        };
        let methods = (self.around)(methods);
        self.paths.paths.keys().fold(router, |router, path| {
            let bare = path.strip_suffix('/').filter(|bare| !bare.is_empty());
            let router = router.route(path, methods.clone());
            match bare {
                Some(bare) => router.route(bare, methods.clone()),
                None => router,
            }
        })
    }
}
