//! Each telephone number has one meaning: overlaps between pools, users and resources.

use super::read::{At, Report};
use super::types::{NumberRange, Pbx, User};
use crate::base::E164;
use std::ops::Range;

/// Whose number it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Owner {
    Pool,
    Resource,
    Overflow,
    User,
}

/// Numbers somebody lays claim to, and where.
pub(super) struct Claim {
    first: E164,
    last: E164,
    owner: Owner,
    span: Range<usize>,
    path: String,
}

/// Every number in the file.
#[derive(Default)]
pub(super) struct Claims {
    pub pools: Vec<Claim>,
    pub points: Vec<Claim>,
}

impl Claim {
    pub fn number(number: &At<E164>, owner: Owner, path: String) -> Self {
        Self { first: number.value, last: number.value, owner, span: number.span.clone(), path }
    }

    pub fn range(range: &At<NumberRange>, path: String) -> Self {
        Self { first: range.value.first, last: range.value.last, owner: Owner::Pool, span: range.span.clone(), path }
    }
}

/// Reports every number with two meanings. A user's own number may be one its resource bought.
pub(super) fn check(mut claims: Claims, report: &Report) {
    claims.pools.sort_by_key(|claim| (claim.first, claim.span.start));
    let mut furthest: Option<&Claim> = None;
    for claim in &claims.pools {
        match furthest {
            Some(other) if claim.first <= other.last => clash(report, claim, other, claim.first),
            _ => {}
        }
        if furthest.is_none_or(|other| claim.last > other.last) {
            furthest = Some(claim);
        }
    }
    for claim in &claims.points {
        let after = claims.pools.partition_point(|pool| pool.first <= claim.first);
        let below = after.checked_sub(1).and_then(|at| claims.pools.get(at));
        if let Some(pool) = below.filter(|pool| claim.first <= pool.last) {
            clash(report, claim, pool, claim.first);
        }
    }
    let (shared, mut points): (Vec<_>, Vec<_>) =
        claims.points.into_iter().partition(|claim| claim.owner == Owner::Overflow);
    points.sort_by_key(|claim| (claim.owner, claim.first, claim.span.start));
    for claim in &shared {
        // A shared number rings whoever showed it last, and a user's own number rings that user.
        let at = points.partition_point(|point| (point.owner, point.first) < (Owner::User, claim.first));
        if let Some(user) = points.get(at).filter(|user| user.owner == Owner::User && user.first == claim.first) {
            clash(report, claim, user, claim.first);
        }
    }
    for pair in points.windows(2) {
        if let [one, two] = pair
            && one.owner == two.owner
            && one.first == two.first
        {
            clash(report, two, one, two.first);
        }
    }
}

/// The users of a PBX are never users of ours.
pub(super) fn pbx_domains(
    pbxs: &[Pbx],
    spans: &[Range<usize>],
    users: &[User],
    served: &[compact_str::CompactString],
    report: &Report,
) {
    for ((pbx, span), at) in pbxs.iter().zip(spans).zip(0..) {
        let is_ours = served.contains(&pbx.domain) || users.iter().any(|user| user.aor.domain() == pbx.domain);
        if is_ours {
            let path = format!("pbxs[{at}].name");
            let message =
                format!("`{path}` is {:?}, a domain of users: a callback could ring the wrong person", pbx.name);
            report.error(span, path, message, Some("name the PBX otherwise".to_owned()));
        }
    }
}

/// Points at the one further down in the file.
fn clash(report: &Report, one: &Claim, two: &Claim, number: E164) {
    let (first, second) = if one.span.start < two.span.start { (one, two) } else { (two, one) };
    let message = format!("`{}`: {number} is in `{}` too", second.path, first.path);
    let help = "a number may have one meaning only, or a callback could ring the wrong person";
    report.error(&second.span, second.path.clone(), message, Some(help.to_owned()));
}
