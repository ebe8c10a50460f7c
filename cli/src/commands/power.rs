//! `experimently power`: how many units, how large an effect, how much power, and how long.
//!
//! Reads a plan from the command line and leaves the arithmetic to `stats::design::plan`. Whatever is wrong with the
//! plan ends with 2, and a plan that no number of units meets with 1.

mod inputs;
mod render;

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use stats::StatsError;
use stats::design::allocation::{Duration, duration, many_to_one};
use stats::design::plan::{
    Better, Correction, Goal, Known, Looking, Metric, Plan, Planned, RatioMoments, solve,
};
use stats::sequential::group::classical::equal_information;

use self::inputs::{Looks, Shares, Size, SpendingRule};
use crate::output::{self, Format};

/// Power that is planned for when neither it nor both of effect and units are given.
const USUAL_POWER: f64 = 0.8;

/// Looks of a design that is watched all the time: one a day for four weeks.
const WATCHED_LOOKS: usize = 28;

/// Looks of a group-sequential design.
const GROUP_LOOKS: usize = 5;

/// Plan an experiment: find units, effect or power, whichever is left out, and the days it takes.
///
/// Example: experimently power proportion --baseline 0.05 --effect 10% --daily-units 4000
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct Power {
    #[command(subcommand)]
    metric: MetricArguments,
}

/// What is measured.
#[derive(Debug, Subcommand)]
enum MetricArguments {
    /// The share of units with an event.
    ///
    /// Example: experimently power proportion --baseline 0.05 --effect 10% --daily-units 4000
    Proportion {
        /// The control's share, between 0 and 1.
        #[arg(long)]
        baseline: f64,
        #[command(flatten)]
        plan: PlanArguments,
    },
    /// The mean of a value per unit.
    ///
    /// Example: experimently power mean --baseline 40 --sd 25 --effect 2% --correlation 0.6
    Mean {
        /// The standard deviation over units.
        #[arg(long)]
        sd: f64,
        /// The control's mean, for effects told in percent.
        #[arg(long, allow_negative_numbers = true)]
        baseline: Option<f64>,
        #[command(flatten)]
        plan: PlanArguments,
    },
    /// A sum over units divided by another, such as clicks per page view.
    ///
    /// Example: experimently power ratio --numerator-mean 2 --numerator-sd 3 --denominator-mean 10 --denominator-sd 8
    /// --parts-correlation 0.7 --effect 2%
    Ratio {
        /// The numerator's mean over units.
        #[arg(long, allow_negative_numbers = true)]
        numerator_mean: f64,
        /// The numerator's standard deviation over units.
        #[arg(long)]
        numerator_sd: f64,
        /// The denominator's mean over units.
        #[arg(long)]
        denominator_mean: f64,
        /// The denominator's standard deviation over units.
        #[arg(long)]
        denominator_sd: f64,
        /// The correlation of numerator and denominator over units.
        #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
        parts_correlation: f64,
        #[command(flatten)]
        plan: PlanArguments,
    },
    /// Events per unit of exposure, such as errors per day.
    ///
    /// Example: experimently power count --baseline 0.3 --exposure 7 --effect 5% --dispersion 1.5
    Count {
        /// The control's events per unit of exposure.
        #[arg(long)]
        baseline: f64,
        /// The exposure of one unit.
        #[arg(long, default_value_t = 1.0)]
        exposure: f64,
        /// The variance of a unit's count over its mean; 1 for Poisson counts.
        #[arg(long, default_value_t = 1.0)]
        dispersion: f64,
        #[command(flatten)]
        plan: PlanArguments,
    },
}

/// Everything about a plan but the metric.
#[derive(Debug, Args)]
struct PlanArguments {
    /// The difference to find, absolute, or relative to the baseline with a percent sign.
    #[arg(long, allow_hyphen_values = true, conflicts_with = "margin")]
    effect: Option<Size>,
    /// The margin of non-inferiority or equivalence, absolute or in percent of the baseline.
    #[arg(long)]
    margin: Option<Size>,
    /// The true difference that is believed in when a margin is planned for.
    #[arg(long, allow_hyphen_values = true)]
    true_difference: Option<Size>,
    /// The units of all arms together.
    #[arg(long, conflicts_with = "days")]
    units: Option<f64>,
    /// The days that the experiment may take; needs the daily units.
    #[arg(long, requires = "daily_units")]
    days: Option<f64>,
    /// New units a day.
    #[arg(long)]
    daily_units: Option<f64>,
    /// The share of these that takes part.
    #[arg(long, default_value_t = 1.0)]
    traffic_share: f64,
    /// The chance to find the effect; 0.8 when units or effect are to be found.
    #[arg(long)]
    power: Option<f64>,
    /// The error rate over all comparisons.
    #[arg(long, default_value_t = 0.05)]
    alpha: f64,
    /// What is to be shown.
    #[arg(long, value_enum, default_value_t = GoalChoice::Superiority)]
    goal: GoalChoice,
    /// Look for an effect in the good direction alone.
    #[arg(long)]
    one_sided: bool,
    /// Less is better: the effect looked for is a decrease.
    #[arg(long)]
    lower_is_better: bool,
    /// The number of arms, the control among them.
    #[arg(long, default_value_t = 2)]
    arms: usize,
    /// Traffic shares: "equal", "best" for the least traffic, or a list such as 50,25,25 with the control first.
    #[arg(long, default_value = "equal")]
    shares: Shares,
    /// The number of metrics that are decided on.
    #[arg(long, default_value_t = 1)]
    metrics: u64,
    /// How the error rate is shared among arms and metrics.
    #[arg(long, value_enum, default_value_t = CorrectionChoice::Bonferroni)]
    correction: CorrectionChoice,
    /// The correlation of the outcome with the covariate it is adjusted for (CUPED).
    #[arg(long, allow_negative_numbers = true, conflicts_with = "variance_reduction")]
    correlation: Option<f64>,
    /// The share of the variance that adjustment removes.
    #[arg(long)]
    variance_reduction: Option<f64>,
    /// When the data are looked at.
    #[arg(long, value_enum, default_value_t = LookingChoice::Once)]
    looking: LookingChoice,
    /// The number of looks, or for a group-sequential design their shares of the units such as 0.5,0.75,1.
    #[arg(long)]
    looks: Option<Looks>,
    /// How a group-sequential design spends its error: obrien-fleming, pocock, power:3 or hsd:-4.
    #[arg(long, default_value = "obrien-fleming", allow_hyphen_values = true)]
    spending: SpendingRule,
    /// Where a confidence sequence is tightest, as a share of the units at the end.
    #[arg(long, default_value_t = 1.0)]
    planned_share: f64,
    /// How to print it; a table on a terminal, JSON otherwise.
    #[arg(long)]
    format: Option<Format>,
}

/// What is to be shown.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum GoalChoice {
    /// That there is an effect.
    Superiority,
    /// That the treatment is not worse by the margin.
    NonInferiority,
    /// That the arms differ by less than the margin.
    Equivalence,
}

/// How the error rate is shared.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum CorrectionChoice {
    /// Not at all.
    None,
    /// Equally.
    Bonferroni,
    /// As independent comparisons allow.
    Sidak,
    /// By the joint distribution of all arms against the control.
    Dunnett,
}

/// When the data are looked at.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum LookingChoice {
    /// Once, at the end.
    Once,
    /// All the time, with an asymptotic confidence sequence.
    ConfidenceSequence,
    /// All the time, with the mixture sequential probability ratio test.
    MixtureTest,
    /// A few times, with boundaries from a spending function.
    GroupSequential,
}

/// The answer with what the command line adds to it.
struct Answer {
    plan: Plan,
    planned: Planned,
    true_difference: f64,
    duration: Option<Duration>,
    power_assumed: bool,
}

impl Power {
    /// Runs the command.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let (metric, arguments) = self.metric.parts();
        let format = arguments.format;
        match answer(metric, &arguments) {
            Ok(answer) => {
                match output::chosen(format) {
                    Format::Json => output::say(&render::json(&answer)?),
                    Format::Table => output::print(render::table(&answer).as_bytes()),
                }
                Ok(ExitCode::SUCCESS)
            }
            Err(error @ StatsError::InvalidInput { .. }) => {
                output::complain(&format!("error: {error}"));
                Ok(ExitCode::from(2))
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl MetricArguments {
    fn parts(self) -> (Metric, PlanArguments) {
        match self {
            Self::Proportion { baseline, plan } => (Metric::Proportion { baseline }, plan),
            Self::Mean { sd, baseline, plan } => (Metric::Mean { sd, baseline }, plan),
            Self::Ratio {
                numerator_mean,
                numerator_sd,
                denominator_mean,
                denominator_sd,
                parts_correlation,
                plan,
            } => (
                Metric::Ratio(RatioMoments {
                    numerator_mean,
                    numerator_sd,
                    denominator_mean,
                    denominator_sd,
                    correlation: parts_correlation,
                }),
                plan,
            ),
            Self::Count {
                baseline,
                exposure,
                dispersion,
                plan,
            } => (
                Metric::Count {
                    baseline,
                    exposure,
                    dispersion,
                },
                plan,
            ),
        }
    }
}

fn answer(metric: Metric, arguments: &PlanArguments) -> Result<Answer, StatsError> {
    let baseline = metric.baseline();
    let absolute = |field, size: Option<Size>| size.map(|size| size.absolute(field, baseline)).transpose();
    let units = match arguments.days {
        Some(days) => Some(units_in(days, arguments)?),
        None => arguments.units,
    };
    let effect = match arguments.goal {
        GoalChoice::Superiority if arguments.margin.is_some() => {
            return Err(StatsError::invalid(
                "--margin",
                "goes with --goal non-inferiority or equivalence; for superiority give --effect",
            ));
        }
        GoalChoice::Superiority => absolute("--effect", arguments.effect)?,
        _ if arguments.effect.is_some() => {
            return Err(StatsError::invalid(
                "--effect",
                "goes with --goal superiority; give --margin, and --true-difference if it is not 0",
            ));
        }
        _ => absolute("--margin", arguments.margin)?,
    };
    let power_assumed = arguments.power.is_none() && (effect.is_none() || units.is_none());
    let known = Known {
        effect,
        units,
        power: arguments.power.or(power_assumed.then_some(USUAL_POWER)),
        true_difference: absolute("--true-difference", arguments.true_difference)?.unwrap_or(0.0),
    };
    let plan = plan(metric, arguments)?;
    let planned = solve(&plan, known)?;
    let duration = match arguments.daily_units {
        Some(daily) => Some(duration(
            planned.total_units as f64,
            daily,
            arguments.traffic_share,
        )?),
        None => None,
    };
    Ok(Answer {
        plan,
        planned,
        true_difference: known.true_difference,
        duration,
        power_assumed,
    })
}

/// The units that the given days bring.
fn units_in(days: f64, arguments: &PlanArguments) -> Result<f64, StatsError> {
    let daily = arguments.daily_units.unwrap_or(f64::NAN);
    stats::error::check_positive("--days", days)?;
    stats::error::check_positive("--daily-units", daily)?;
    stats::error::check_positive("--traffic-share", arguments.traffic_share)?;
    Ok((days * daily * arguments.traffic_share).floor())
}

fn plan(metric: Metric, arguments: &PlanArguments) -> Result<Plan, StatsError> {
    Ok(Plan {
        metric,
        goal: match arguments.goal {
            GoalChoice::Superiority => Goal::Superiority,
            GoalChoice::NonInferiority => Goal::NonInferiority,
            GoalChoice::Equivalence => Goal::Equivalence,
        },
        better: if arguments.lower_is_better {
            Better::Lower
        } else {
            Better::Higher
        },
        one_sided: arguments.one_sided,
        looking: looking(arguments)?,
        alpha: arguments.alpha,
        correction: match arguments.correction {
            CorrectionChoice::None => Correction::None,
            CorrectionChoice::Bonferroni => Correction::Bonferroni,
            CorrectionChoice::Sidak => Correction::Sidak,
            CorrectionChoice::Dunnett => Correction::Dunnett,
        },
        shares: shares(arguments)?,
        metrics: arguments.metrics,
        variance_left: variance_left(arguments)?,
    })
}

fn looking(arguments: &PlanArguments) -> Result<Looking, StatsError> {
    let number = |usual: usize| match &arguments.looks {
        None => Ok(usual),
        Some(Looks::Number(looks)) => Ok(*looks),
        Some(Looks::Shares(_)) => Err(StatsError::invalid(
            "--looks",
            "must be a number unless the design is group-sequential",
        )),
    };
    match arguments.looking {
        LookingChoice::Once if arguments.looks.is_some() => Err(StatsError::invalid(
            "--looks",
            "needs --looking confidence-sequence, mixture-test or group-sequential",
        )),
        LookingChoice::Once => Ok(Looking::Once),
        LookingChoice::ConfidenceSequence => Ok(Looking::ConfidenceSequence {
            looks: number(WATCHED_LOOKS)?,
            planned_share: arguments.planned_share,
        }),
        LookingChoice::MixtureTest => Ok(Looking::MixtureTest {
            looks: number(WATCHED_LOOKS)?,
        }),
        LookingChoice::GroupSequential => Ok(Looking::GroupSequential {
            information: match &arguments.looks {
                Some(Looks::Shares(shares)) => shares.clone(),
                _ => equal_information(number(GROUP_LOOKS)?),
            },
            spending: arguments.spending.0,
        }),
    }
}

fn shares(arguments: &PlanArguments) -> Result<Vec<f64>, StatsError> {
    let arms = arguments.arms;
    if arms < 2 {
        return Err(StatsError::invalid("--arms", "must be at least 2"));
    }
    match &arguments.shares {
        Shares::Equal => Ok(vec![1.0; arms]),
        Shares::Best => {
            let best = many_to_one(arms as u64 - 1, 1.0, 1.0)?;
            let mut shares = vec![best.treatment; arms];
            shares[0] = best.control;
            Ok(shares)
        }
        Shares::List(shares) => Ok(shares.clone()),
    }
}

fn variance_left(arguments: &PlanArguments) -> Result<f64, StatsError> {
    if let Some(correlation) = arguments.correlation {
        if !(correlation > -1.0 && correlation < 1.0) {
            return Err(StatsError::invalid(
                "--correlation",
                "must lie strictly between -1 and 1",
            ));
        }
        return Ok((1.0 - correlation) * (1.0 + correlation));
    }
    let reduction = arguments.variance_reduction.unwrap_or(0.0);
    if (0.0..1.0).contains(&reduction) {
        Ok(1.0 - reduction)
    } else {
        Err(StatsError::invalid(
            "--variance-reduction",
            "must be at least 0 and below 1",
        ))
    }
}
