//! Everything that can happen in the world, and how often. Each act returns the first check that fails after it.

use crate::law::Violation;
use crate::world::World;

pub mod admin;
pub mod client;
pub mod fate;
pub mod policy;
pub mod rival;
pub mod streams;

type Act = fn(&mut World) -> Result<(), Violation>;

/// The acts, with their relative frequency.
const MIX: &[(u64, Act)] = &[
    (12, client::register_with_key),
    (5, client::register_without_key),
    (4, client::register_again),
    (3, client::repeat_login),
    (4, client::rotate_key),
    (3, client::log_out),
    (2, client::shorten_expiry),
    (3, client::use_foreign_key),
    (1, client::register_old_client),
    (10, client::update),
    (3, client::one_shot_map),
    (2, client::requests_at_once),
    (14, streams::open),
    (18, streams::read),
    (5, streams::disconnect),
    (2, admin::create_user),
    (2, admin::rename_user),
    (2, admin::set_role),
    (1, admin::delete_user),
    (6, admin::create_key),
    (2, admin::expire_or_delete_key),
    (1, admin::api_keys),
    (3, admin::rename_node),
    (2, admin::expire_node),
    (2, admin::delete_node),
    (2, admin::tag_node),
    (4, admin::approve_routes),
    (3, admin::edit_routes),
    (5, admin::settle_login),
    (1, admin::backfill),
    (3, policy::set),
    (1, policy::set_bad),
    (2, policy::ssh),
    (4, rival::commit),
    (1, rival::forget_log),
    (1, rival::follow),
    (2, fate::configure),
    (12, fate::time_passes),
    (2, fate::break_or_repair_disk),
    (1, fate::crash),
    (1, fate::power_cut),
    (1, fate::graceful_restart),
];

/// Lets a random act happen.
pub fn one(world: &mut World) -> Result<(), Violation> {
    let total = MIX.iter().map(|(weight, _)| weight).sum();
    let mut at = world.rng.below(total);
    for (weight, act) in MIX {
        if at < *weight {
            return act(world);
        }
        at -= weight;
    }
    Ok(())
}
