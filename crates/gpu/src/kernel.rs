//! The kernels: which there are, their options, and the WGSL of each.

use crate::template::expand;

/// What a kernel computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Program {
    /// A matrix product.
    Product {
        form: Form,
    },
    /// The same by cooperative matrices: of f16 and wide only.
    MatrixProduct {
        form: Form,
        matrices: Matrices,
    },
    /// Attention with so many chunks of 64 channels in a head.
    Attention {
        chunks: u32,
    },
    /// The same by cooperative matrices, of which the channels of a head are so many.
    MatrixAttention {
        steps: u32,
        matrices: Matrices,
    },
    /// The product of few rows: wide only.
    RowProduct,
    /// A whole group norm, of small groups.
    GroupNorm,
    GroupStats,
    GroupMerge,
    GroupApply,
    RowNorm,
    Unary,
    Binary,
    Channels,
    PRelu,
    Geglu,
    Move,
    Concat,
    Embedding,
    Pool,
    Shuffle,
    Depthwise,
    Mean,
    Fill,
}

/// What a product makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Form {
    /// One result.
    One,
    /// GEGLU of it.
    Gated,
    /// The results of three weights of one shape: wide only.
    Three,
}

/// The cooperative matrices of a device, and how the kernels use them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Matrices {
    /// Rows and columns of a matrix: 8 or 16.
    pub(crate) side: u32,
    /// Threads of a workgroup: those of four subgroups, of the largest that the device makes.
    pub(crate) threads: u32,
    /// How many subgroups they are at most.
    pub(crate) subgroups: u32,
}

impl Matrices {
    /// Of a device whose smallest and largest subgroups have so many threads.
    pub(crate) fn new(side: u32, [smallest, largest]: [u32; 2]) -> Self {
        Self { side, threads: 4 * largest, subgroups: 4 * largest / smallest.max(1) }
    }

    /// Matrices of a subgroup in each direction.
    fn per(self) -> u32 {
        // Small subgroups are those of a software driver, which compiles the less the better.
        if self.side == 8 && self.threads >= 128 { 4 } else { 2 }
    }

    /// The most workgroup memory that a kernel takes: that of the widest head.
    pub(crate) fn workgroup_bytes(self) -> u32 {
        let Self { side, threads, subgroups } = self;
        let rows = 2 * side * (WIDEST_MATRIX_HEAD as u32 + 8);
        2 * rows + 4 * 2 * subgroups * side * side + 2 * 4 * side * (2 * side + 8) + 4 * threads
    }

    /// Rows, and columns, of a product in a workgroup.
    pub(crate) fn block(self) -> u32 {
        2 * self.per() * self.side
    }
}

/// A kernel with its options.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Kernel {
    pub(crate) program: Program,
    /// Whether elements are kept in f16.
    pub(crate) f16: bool,
    /// Whether it reads four elements at a time, which channels must be a multiple of.
    pub(crate) wide: bool,
    /// Whether a result that is too large for f16 ends at its greatest number, and is not no number.
    pub(crate) clamps: bool,
}

/// The widest head of an attention by matrices: what their sums have registers for.
pub(crate) const WIDEST_MATRIX_HEAD: usize = 192;
/// The widest head of an attention: what the sums of a thread have registers for.
pub(crate) const WIDEST_HEAD: usize = 1024;

impl Program {
    /// Tensors, then parameters, that it is bound to.
    pub(crate) fn bindings(self) -> [usize; 2] {
        match self {
            Self::Product { form: Form::Three } | Self::MatrixProduct { form: Form::Three, .. } => [4, 3],
            Self::Product { .. } | Self::MatrixProduct { .. } | Self::RowProduct => [3, 2],
            Self::Attention { .. } | Self::MatrixAttention { .. } => [4, 0],
            Self::GroupApply => [3, 2],
            Self::RowNorm | Self::Depthwise | Self::GroupNorm => [2, 2],
            Self::Embedding | Self::PRelu => [2, 1],
            Self::Binary | Self::Channels | Self::Concat => [3, 0],
            Self::Fill => [1, 0],
            Self::GroupStats
            | Self::GroupMerge
            | Self::Unary
            | Self::Geglu
            | Self::Move
            | Self::Pool
            | Self::Shuffle
            | Self::Mean => [2, 0],
        }
    }

    /// The 32-bit words of its parameters.
    pub(crate) fn words(self) -> usize {
        match self {
            Self::Product { .. } | Self::MatrixProduct { .. } => 17,
            Self::Attention { .. } | Self::MatrixAttention { .. } | Self::GroupNorm => 7,
            Self::GroupStats | Self::Move => 7,
            Self::GroupMerge | Self::Unary | Self::Pool => 4,
            Self::GroupApply => 8,
            Self::RowNorm | Self::Shuffle | Self::RowProduct => 5,
            Self::Channels | Self::Concat => 3,
            Self::Binary | Self::PRelu | Self::Geglu | Self::Embedding | Self::Fill => 2,
            Self::Depthwise => 12,
            Self::Mean => 1,
        }
    }

    /// What it computes, for people: by matrices or not.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Product { form: Form::One } | Self::MatrixProduct { form: Form::One, .. } => "product",
            Self::Product { form: Form::Gated } | Self::MatrixProduct { form: Form::Gated, .. } => "product and geglu",
            Self::Product { form: Form::Three } | Self::MatrixProduct { form: Form::Three, .. } => "three products",
            Self::RowProduct => "product of few rows",
            Self::Attention { .. } | Self::MatrixAttention { .. } => "attention",
            Self::GroupNorm => "group norm",
            Self::GroupStats => "group norm: slices",
            Self::GroupMerge => "group norm: sums",
            Self::GroupApply => "group norm: result",
            Self::RowNorm => "layer norm",
            Self::Unary | Self::Binary => "elementwise",
            Self::Channels => "add channels",
            Self::Geglu => "geglu",
            Self::Move => "move",
            Self::Concat => "concat",
            Self::Embedding => "embedding",
            Self::PRelu => "prelu",
            Self::Shuffle => "shuffle",
            Self::Pool => "pool",
            Self::Depthwise => "depthwise conv",
            Self::Mean => "mean",
            Self::Fill => "fill",
        }
    }

    fn source(self) -> &'static str {
        match self {
            Self::Product { .. } => include_str!("kernels/product.wgsl"),
            Self::MatrixProduct { .. } => include_str!("kernels/product_khr.wgsl"),
            Self::Attention { .. } => include_str!("kernels/attention.wgsl"),
            Self::MatrixAttention { .. } => include_str!("kernels/attention_khr.wgsl"),
            Self::RowProduct => include_str!("kernels/row_product.wgsl"),
            Self::GroupNorm => include_str!("kernels/group_norm.wgsl"),
            Self::Concat => include_str!("kernels/concat.wgsl"),
            Self::GroupStats => include_str!("kernels/group_stats.wgsl"),
            Self::GroupMerge => include_str!("kernels/group_merge.wgsl"),
            Self::GroupApply => include_str!("kernels/group_apply.wgsl"),
            Self::RowNorm => include_str!("kernels/row_norm.wgsl"),
            Self::Unary => include_str!("kernels/unary.wgsl"),
            Self::Binary => include_str!("kernels/binary.wgsl"),
            Self::Channels => include_str!("kernels/channels.wgsl"),
            Self::PRelu => include_str!("kernels/prelu.wgsl"),
            Self::Geglu => include_str!("kernels/geglu.wgsl"),
            Self::Move => include_str!("kernels/move.wgsl"),
            Self::Embedding => include_str!("kernels/embedding.wgsl"),
            Self::Pool => include_str!("kernels/pool.wgsl"),
            Self::Shuffle => include_str!("kernels/shuffle.wgsl"),
            Self::Depthwise => include_str!("kernels/depthwise.wgsl"),
            Self::Mean => include_str!("kernels/mean.wgsl"),
            Self::Fill => include_str!("kernels/fill.wgsl"),
        }
    }

    /// The sources that it shares with others.
    fn shared(self) -> &'static [&'static str] {
        const FUNCTIONS: &str = include_str!("kernels/functions.wgsl");
        const EACH: &str = include_str!("kernels/each.wgsl");
        const TOTAL: &str = include_str!("kernels/total.wgsl");
        const MATRICES: &str = include_str!("kernels/matrices.wgsl");
        const PRODUCT: &str = include_str!("kernels/product_params.wgsl");
        const ATTENTION: &str = include_str!("kernels/attention_params.wgsl");
        match self {
            Self::Product { .. } => &[FUNCTIONS, PRODUCT],
            Self::MatrixProduct { .. } => &[FUNCTIONS, PRODUCT, MATRICES],
            Self::Attention { .. } => &[ATTENTION],
            Self::MatrixAttention { .. } => &[ATTENTION, MATRICES],
            Self::GroupApply | Self::Unary | Self::Geglu => &[FUNCTIONS, EACH],
            Self::Binary
            | Self::Channels
            | Self::PRelu
            | Self::Move
            | Self::Concat
            | Self::Embedding
            | Self::Pool
            | Self::Shuffle
            | Self::Depthwise
            | Self::Fill => &[EACH],
            Self::RowProduct | Self::GroupNorm => &[FUNCTIONS],
            Self::GroupMerge | Self::RowNorm => &[TOTAL],
            Self::GroupStats | Self::Mean => &[],
        }
    }

    /// Whether results may be larger than what they come of.
    pub(crate) fn computes(self) -> bool {
        !matches!(
            self,
            Self::GroupStats
                | Self::GroupMerge
                | Self::Move
                | Self::Concat
                | Self::Embedding
                | Self::Pool
                | Self::Shuffle
                | Self::Mean
                | Self::Fill
                | Self::Attention { .. }
                | Self::MatrixAttention { .. }
        )
    }

    /// Whether it computes with four elements at a time however they lie in memory.
    fn computes_wide(self) -> bool {
        matches!(self, Self::Product { .. } | Self::Attention { .. })
    }
}

/// How many queries a workgroup of attention has: fewer where the sums of a wide head take the registers.
pub(crate) fn queries(chunks: u32) -> u32 {
    if chunks > 3 { 16 } else { 64 }
}

impl Kernel {
    /// Its WGSL.
    pub(crate) fn wgsl(&self) -> String {
        let wide_types = self.wide || self.program.computes_wide();
        let (form, parts, matrices) = match self.program {
            Program::Product { form } => (form, 0, None),
            Program::MatrixProduct { form, matrices } => (form, 0, Some(matrices)),
            Program::Attention { chunks } => (Form::One, chunks, None),
            Program::MatrixAttention { steps, matrices } => (Form::One, steps, Some(matrices)),
            _ => (Form::One, 0, None),
        };
        let Matrices { side, threads, subgroups } = matrices.unwrap_or(Matrices { side: 0, threads: 0, subgroups: 0 });
        let block = matrices.map_or(0, Matrices::block);
        let queries = queries(parts);
        let constants = [
            ("F16", self.f16.into()),
            ("CLAMPS", self.clamps.into()),
            ("WIDE", wide_types.into()),
            ("LOOSE", (wide_types && !self.wide).into()),
            ("PLAIN", (form == Form::One).into()),
            ("GEGLU", (form == Form::Gated).into()),
            ("THREE", (form == Form::Three).into()),
            ("CHUNKS", parts),
            ("STEPS", parts),
            ("ROWS", queries / 16),
            ("QUERIES", queries),
            ("QUERY_PLACES", queries * 5),
            ("WEIGHT_PLACES", queries * 33),
            ("MATRICES", side),
            ("SIDE", side),
            ("THREADS", threads),
            ("PER", matrices.map_or(0, Matrices::per)),
            ("BLOCK", block),
            ("X_PLACES", block * (2 * side + 8)),
            ("W_PLACES", 2 * side * (block + 8)),
            ("ROW_PLACES", (2 * side * (parts * side + 8)).max(4 * side * (side + 8))),
            ("SCORE_PLACES", 2 * subgroups * side * side),
            ("PART_PLACES", 4 * side * (2 * side + 8)),
            ("SUM_PLACES", subgroups * side * side),
        ];
        let sources = [&[include_str!("kernels/common.wgsl")], self.program.shared(), &[self.program.source()]];
        expand(&sources.concat().join("\n"), &constants)
    }

    /// Every kernel that heads of the widths of Stable Diffusion need, with every option.
    pub(crate) fn all() -> Vec<Self> {
        let mut programs = vec![
            Program::Product { form: Form::One },
            Program::Product { form: Form::Gated },
            Program::GroupNorm,
            Program::GroupStats,
            Program::GroupMerge,
            Program::GroupApply,
            Program::RowNorm,
            Program::Unary,
            Program::Binary,
            Program::Channels,
            Program::PRelu,
            Program::Geglu,
            Program::Move,
            Program::Concat,
            Program::Embedding,
            Program::Pool,
            Program::Shuffle,
            Program::Depthwise,
            Program::Mean,
            Program::Fill,
        ];
        programs.extend([1, 2, 3, 8, 16].map(|chunks| Program::Attention { chunks }));
        let options = [[false, false], [false, true], [true, false], [true, true]];
        let kernel = |program| options.map(|[f16, wide]| Self { program, f16, wide, clamps: true });
        let mut kernels: Vec<_> = programs.into_iter().flat_map(kernel).collect();
        let wide_only = [Program::Product { form: Form::Three }, Program::RowProduct];
        kernels.extend(wide_only.into_iter().flat_map(kernel).filter(|kernel| kernel.wide));
        for (side, subgroup) in [(16, [32, 32]), (16, [32, 64]), (8, [32, 32]), (8, [8, 8])] {
            let matrices = Matrices::new(side, subgroup);
            let mut programs = vec![
                Program::MatrixProduct { form: Form::One, matrices },
                Program::MatrixProduct { form: Form::Gated, matrices },
                Program::MatrixProduct { form: Form::Three, matrices },
            ];
            let heads = [8, 40, 64, 80, 160, WIDEST_MATRIX_HEAD as u32];
            programs.extend(heads.map(|dim| Program::MatrixAttention { steps: dim.div_ceil(side), matrices }));
            kernels.extend(programs.into_iter().map(|program| Self { program, f16: true, wide: true, clamps: true }));
        }
        let shows = |kernel: &Self| kernel.f16 && kernel.program.computes();
        let showing: Vec<_> =
            kernels.iter().copied().filter(shows).map(|kernel| Self { clamps: false, ..kernel }).collect();
        kernels.extend(showing);
        kernels
    }
}

/// Name and WGSL of every kernel, for tools that read them without a device.
#[must_use]
pub fn kernels() -> Vec<(String, String)> {
    Kernel::all().iter().map(|kernel| (format!("{kernel:?}"), kernel.wgsl())).collect()
}
