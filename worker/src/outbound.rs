//! The one HTTP client by which anything leaves: no redirects, one deadline for the whole exchange, a bounded answer,
//! and no private, loopback or link-local address unless `outbound.allow_networks` lists it.
