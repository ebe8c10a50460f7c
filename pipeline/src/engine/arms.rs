//! Totals per arm: exposed users, and for each measure the sums over the users of the arm that are no crossovers.

use domain::Sums;
use hashbrown::HashMap;

/// One (experiment, variant) and what its users add up to.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Arm {
    /// The number of the experiment.
    pub experiment: u32,
    /// The number of the variant.
    pub variant: u32,
    /// Users first exposed to this arm and to no other.
    pub exposed: u64,
    /// Users first exposed to this arm and then to another.
    pub crossovers: u64,
    /// Sums of the users' values by measure; shorter than the plan where nobody has a value yet.
    pub sums: Vec<Sums>,
    /// Whether anything changed since the arm was last written.
    pub changed: bool,
    /// Whether the table has an older form of it.
    pub written: bool,
}

impl Arm {
    /// Whether it was the first arm of anybody; one that was only ever somebody's second says nothing.
    pub fn has_users(&self) -> bool {
        self.exposed + self.crossovers > 0
    }
}

impl Arm {
    /// The sums of a measure, zero where nobody has a value yet.
    pub fn sums_of(&self, measure: u32) -> Sums {
        self.sums.get(measure as usize).copied().unwrap_or_default()
    }

    /// The sums of a measure, to be changed.
    pub fn sums_mut(&mut self, measure: u32) -> &mut Sums {
        let index = measure as usize;
        if self.sums.len() <= index {
            self.sums.resize(index + 1, Sums::default());
        }
        self.changed = true;
        &mut self.sums[index]
    }
}

/// All arms, numbered in the order of their first appearance.
#[derive(Debug, Default)]
pub(crate) struct Arms {
    numbers: HashMap<(u32, u32), u32>,
    list: Vec<Arm>,
}

impl Arms {
    /// The arms of a snapshot.
    pub fn from_list(list: Vec<Arm>) -> Self {
        let numbers = list
            .iter()
            .enumerate()
            .map(|(number, arm)| ((arm.experiment, arm.variant), number as u32));
        Self {
            numbers: numbers.collect(),
            list,
        }
    }

    /// The number of an arm, giving it the next one when it is new.
    pub fn number_of(&mut self, experiment: u32, variant: u32) -> u32 {
        let list = &mut self.list;
        *self.numbers.entry((experiment, variant)).or_insert_with(|| {
            list.push(Arm {
                experiment,
                variant,
                changed: true,
                ..Arm::default()
            });
            list.len() as u32 - 1
        })
    }

    /// Has every arm written again.
    pub fn mark_all_changed(&mut self) {
        self.list.iter_mut().for_each(|arm| arm.changed = true);
    }

    /// Takes every arm for written as it is.
    pub fn consider_written(&mut self) {
        for arm in &mut self.list {
            arm.changed = false;
            arm.written |= arm.has_users();
        }
    }

    /// All arms by number.
    pub fn list(&self) -> &[Arm] {
        &self.list
    }

    /// An arm.
    pub fn get(&self, number: u32) -> &Arm {
        &self.list[number as usize]
    }

    /// An arm, to be changed.
    pub fn get_mut(&mut self, number: u32) -> &mut Arm {
        &mut self.list[number as usize]
    }
}
