//! Everything that may happen in the world, and how often.

use crate::law::Violation;
use crate::world::World;

pub mod admin;
pub mod client;
pub mod fate;
pub mod policy;
pub mod rival;
pub mod streams;

type Act = fn(&mut World) -> Result<(), Violation>;

/// How often each act happens, relative to the others.
const MIX: &[(u64, Act)] = &[
    (12, client::knock_with_key),
    (5, client::knock_without_key),
    (4, client::show_again),
    (4, client::rotate),
    (3, client::log_out),
    (2, client::shorten_expiry),
    (3, client::misuse),
    (1, client::come_with_old_client),
    (10, client::tell),
    (3, client::one_shot),
    (2, client::crowd),
    (14, streams::open),
    (18, streams::read),
    (5, streams::lose),
    (2, admin::make_user),
    (2, admin::rename_user),
    (2, admin::set_role),
    (1, admin::destroy_user),
    (6, admin::make_key),
    (2, admin::end_key),
    (1, admin::api_keys),
    (3, admin::rename_node),
    (2, admin::expire_node),
    (2, admin::delete_node),
    (2, admin::tag_node),
    (4, admin::approve_routes),
    (3, admin::edit_routes),
    (5, admin::decide_login),
    (1, admin::backfill),
    (3, policy::set),
    (1, policy::break_it),
    (2, policy::ssh),
    (4, rival::commit),
    (1, rival::forget_log),
    (1, rival::follow),
    (2, fate::configure),
    (12, fate::time_passes),
    (2, fate::disk_breaks_or_heals),
    (1, fate::crash),
    (1, fate::power_cut),
    (1, fate::orderly_restart),
];

/// One of them happens.
///
/// # Errors
/// What doesn't hold after it.
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
