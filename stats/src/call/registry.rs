//! The list of methods that can be called by name: one row each.
//!
//! To add a method: write its function beside its family in this folder and add a row here.

use serde_json::{Value, json};

use super::inputs::Inputs;
use super::{
    analysis, bandits, bayes, design, group, means, multiple, plan, portfolio, power, proportions, ratios,
    samples, sequential, special, variance,
};
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
    row("methods", methods),
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
    row(
        "confseq.gamma_exponential_log_mixture",
        sequential::exponential_log_e,
    ),
    row(
        "confseq.gamma_exponential_mixture_bound",
        sequential::exponential_bound,
    ),
    row("confseq.gamma_poisson_log_mixture", sequential::poisson_log_e),
    row("confseq.gamma_poisson_mixture_bound", sequential::poisson_bound),
    row("confseq.beta_binomial_log_mixture", sequential::beta_log_e),
    row("confseq.beta_binomial_mixture_bound", sequential::beta_bound),
    row("confseq.poly_stitching_bound", sequential::stitching),
    row("confseq.double_stitching_bound", sequential::double_stitching),
    row(
        "confseq.empirical_process_lil_bound",
        sequential::empirical_process,
    ),
    row("quantile_ranks_anytime", sequential::quantile_ranks),
    row("quantile_confidence_sequence", sequential::quantile_interval),
    row("confseq.quantile_ab_p_value", sequential::quantile_p_value),
    row("eprocess_conditional_rate_ratio", sequential::rate_ratio),
    row("group_sequential_obf", group::obrien_fleming),
    row("group_sequential_pocock", group::pocock),
    row("group_sequential_wang_tsiatis", group::wang_tsiatis),
    row("group_sequential_spending", group::spending_bounds),
    row(
        "group_sequential_spending_published",
        group::spending_bounds_one_sided,
    ),
    row("group_sequential_power", group::power),
    row("group_sequential_futility", group::futility),
    row("group_sequential_estimate", group::adjusted_estimate),
    row("conditional_power", group::conditional_power),
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
    row("bayes_arms", bandits::bayes_arms),
    row("bandit_shares", bandits::shares),
    row("bandit_estimate", bandits::corrected),
    row("welch_t_from_sums", means::welch),
    row("pooled_t_from_sums", means::pooled),
    row("tost_welch_mean_difference", means::tost),
    row("post_stratified_difference", means::post_stratified),
    row("winsorized_means", means::winsorized_means),
    row("anova_one_way", variance::one_way),
    row("anova_welch", variance::welch),
    row("two_proportion", proportions::two_proportion),
    row("one_proportion_ci", proportions::one_proportion_ci),
    row("one_proportion_wilson", proportions::wilson),
    row("one_proportion_clopper_pearson", proportions::clopper_pearson),
    row("risk_difference_ci_wald", proportions::difference_wald),
    row("risk_difference_ci_mee", proportions::difference_mee),
    row(
        "risk_difference_ci_miettinen_nurminen",
        proportions::difference_miettinen_nurminen,
    ),
    row(
        "risk_difference_ci_newcombe_hybrid",
        proportions::difference_newcombe,
    ),
    row("fisher_exact_two_sided", proportions::fisher_two_sided),
    row("fisher_exact_greater", proportions::fisher_greater),
    row("unconditional_exact", proportions::unconditional),
    row(
        "risk_difference_ci_agresti_caffo",
        proportions::difference_agresti_caffo,
    ),
    row("mantel_haenszel", variance::mantel_haenszel),
    row("poisson_two_rates", proportions::poisson_two_rates),
    row("srm_chi2", proportions::srm_chi2),
    row("ratio_metric_delta", ratios::ratio_metric_delta),
    row("relative_change", ratios::relative_change),
    row("cuped_mean", ratios::cuped_mean),
    row("cuped_covariates", ratios::cuped_covariates),
    row("covariate_balance", variance::covariate_balance),
    row("poisson_bootstrap", ratios::poisson_bootstrap),
    row("mann_whitney_u", samples::mann_whitney_u),
    row("kruskal_wallis", variance::kruskal_wallis),
    row("quantile_order_stat_ci", samples::quantile_order_stat_ci),
    row("quantile_difference", samples::quantile_difference),
    row("quantile_difference_clustered", samples::quantile_clustered),
    row("adjusted_p_values", multiple::adjusted_p_values),
    row("hommel_vs_hochberg", multiple::adjusted_p_values),
    row("holm_example", multiple::holm),
    row("holm_adjusted", multiple::holm),
    row("false_coverage_rate", multiple::fcr),
    row("storey_q_value_lambda_0.5", multiple::storey_q),
    row("storey_q_values", multiple::storey_q),
    row("e_bh", multiple::e_bh),
    row("adjusted_intervals", portfolio::adjusted_intervals),
    row("online_fdr", portfolio::online_fdr),
    row("heterogeneity", portfolio::heterogeneity),
    row("meta_analysis", portfolio::heterogeneity),
    row("winners_curse", portfolio::winners_curse),
    row("serial_gatekeeping", multiple::serial_gate),
    row("preferential_bonferroni_eppo", multiple::preferential),
    row("tiered_bonferroni_statsig", multiple::tiered),
    row("spotify_decision_rule_correction", multiple::decision_rule),
    row("dunnett_critical_value_two_sided", multiple::dunnett_critical),
    row("dunnett_test", multiple::dunnett_test),
    row("power_t_test", design::power_means),
    row("power_two_means_t", design::power_means),
    row("sample_size_t_test", design::sample_size_means),
    row("sample_size_two_means", design::sample_size_means),
    row("mde_absolute", design::mde_absolute),
    row("equivalence_power", design::equivalence_power),
    row("sample_size_two_proportions", design::sample_size_proportions),
    row("sample_size_prop_test_R", design::sample_size_proportions),
    row("sample_size_evan_miller", design::sample_size_baseline),
    row("power_two_proportions", design::power_proportions),
    row("exposure_two_rates", design::exposure_rates),
    row("sample_size_mann_whitney", design::sample_size_ranks),
    row("allocation_many_to_one", design::allocation_shares),
    row("duration", design::duration),
    row("design_dunnett", power::dunnett),
    row("design_quantile", power::quantile),
    row("design_mann_whitney", power::mann_whitney),
    row("design_exact", power::exact),
    row("design_sample_ratio", power::sample_ratio),
    row("design_bayes", power::belief),
    row("design_bootstrap", power::bootstrap),
    row("design_rate_ratio", power::rate_ratio),
    row("design_interaction", power::interaction),
    row("design_quantile_sequence", power::quantile_sequence),
    row("design_betting", power::betting),
    row("plan", plan::plan),
    row("analysis", analysis::analysis),
];

/// The names of all methods.
fn methods(_: &Inputs<'_>) -> Result<Value, StatsError> {
    let names: Vec<&str> = METHODS.iter().map(|method| method.name).collect();
    Ok(json!({"value": names}))
}

/// How many near names are offered for an unknown one.
const NEAREST: usize = 3;

/// No more letters of a name than this are compared.
const MAX_LETTERS: usize = 60;

/// The names that share the most pairs of letters with an unknown one.
pub fn nearest(name: &str) -> Vec<&'static str> {
    let pairs = |text: &str| -> Vec<[char; 2]> {
        let letters: Vec<char> = text.to_lowercase().chars().take(MAX_LETTERS).collect();
        letters.windows(2).map(|pair| [pair[0], pair[1]]).collect()
    };
    let asked = pairs(name);
    let likeness = |method: &Method| {
        let own = pairs(method.name);
        let shared = own.iter().filter(|pair| asked.contains(pair)).count();
        // Dice's coefficient in thousandths.
        2_000 * shared / (own.len() + asked.len()).max(1)
    };
    let mut methods: Vec<&Method> = METHODS.iter().collect();
    methods.sort_by_key(|method| std::cmp::Reverse(likeness(method)));
    methods.iter().take(NEAREST).map(|method| method.name).collect()
}

/// The method with this name.
pub fn find(name: &str) -> Option<&'static Method> {
    METHODS.iter().find(|method| method.name == name)
}
