//! The list of methods that can be called by name: one row each.
//!
//! To add a method: write its function beside its family in this folder and add a row here.

use serde_json::Value;

use super::inputs::Inputs;
use super::{bayes, group, sequential, special};
use crate::error::StatsError;

/// A method that can be called by name.
#[derive(Debug, Clone, Copy)]
pub struct Method {
    /// The name in requests.
    pub name: &'static str,
    /// Reads the inputs and gives the result object.
    pub answer: fn(&Inputs<'_>) -> Result<Value, StatsError>,
}

/// A row of the list.
const fn row(name: &'static str, answer: fn(&Inputs<'_>) -> Result<Value, StatsError>) -> Method {
    Method { name, answer }
}

/// Every method, by family.
pub const METHODS: &[Method] = &[
    row("normal", special::normal),
    row("normal_quantile", special::normal_quantile),
    row("student_t_sf", special::student_t_sf),
    row("student_t_isf", special::student_t_isf),
    row("chi2_sf", special::chi2_sf),
    row("beta_cdf", special::beta_cdf),
    row("lgamma_log_choose", special::lgamma_log_choose),
    row("lgamma", special::lgamma),
    row("asymptotic_cs_normal_mixture", sequential::asymptotic_cs),
    row("waudby_smith_rho", sequential::tuning),
    row("msprt_normal", sequential::msprt),
    row("statsig_zstar_balanced_constant", sequential::constant_boundary),
    row("statsig_zstar_balanced", sequential::constant_boundary_bare),
    row("eppo_sequential_bound", sequential::tuned_bound),
    row("srm_sequential_multinomial", sequential::sample_ratio),
    row("betting_cs_hedged", sequential::betting),
    row("predmix_empirical_bernstein_cs", sequential::empirical_bernstein),
    row("predmix_hoeffding_cs", sequential::hoeffding),
    row("confseq.bernoulli_confidence_interval", sequential::proportion),
    row("confseq.best_rho_two_sided_normal", sequential::best_rho),
    row("howard_rho_two_sided", sequential::best_rho),
    row("confseq.normal_log_mixture", sequential::normal_log_e),
    row("confseq.normal_mixture_bound", sequential::normal_bound),
    row("confseq.gamma_exponential_log_mixture", sequential::exponential_log_e),
    row("confseq.gamma_exponential_mixture_bound", sequential::exponential_bound),
    row("confseq.gamma_poisson_log_mixture", sequential::poisson_log_e),
    row("confseq.gamma_poisson_mixture_bound", sequential::poisson_bound),
    row("confseq.beta_binomial_log_mixture", sequential::beta_log_e),
    row("confseq.beta_binomial_mixture_bound", sequential::beta_bound),
    row("confseq.poly_stitching_bound", sequential::stitching),
    row("confseq.double_stitching_bound", sequential::double_stitching),
    row("confseq.empirical_process_lil_bound", sequential::empirical_process),
    row("quantile_ranks_anytime", sequential::quantile_ranks),
    row("confseq.quantile_ab_p_value", sequential::quantile_p_value),
    row("eprocess_conditional_rate_ratio", sequential::rate_ratio),
    row("group_sequential_obf", group::obrien_fleming),
    row("group_sequential_pocock", group::pocock),
    row("group_sequential_wang_tsiatis", group::wang_tsiatis),
    row("group_sequential_spending", group::spending_bounds),
    row("group_sequential_spending_published", group::spending_bounds_one_sided),
    row("group_sequential_power", group::power),
    row("lan_demets_obf_bounds", group::obrien_fleming_bounds),
    row("lan_demets_pocock_bounds", group::pocock_bounds),
    row("pocock_nominal_p", group::pocock_nominal),
    row("obf_inflation_factor", group::obrien_fleming_inflation),
    row("peeking_type1_repeated_5pct_tests", group::peeking),
    row("evan_miller_sequential", group::sign_walk),
    row("sprt_wald_bounds", group::wald_bounds),
    row("asymptotic_cs_power", group::confidence_sequence_power),
    row("beta_binomial", bayes::beta_binomial),
    row("normal_normal_effect", bayes::effect),
    row("gamma_poisson", bayes::gamma_poisson),
];

/// The method with this name.
pub fn find(name: &str) -> Option<&'static Method> {
    METHODS.iter().find(|method| method.name == name)
}
