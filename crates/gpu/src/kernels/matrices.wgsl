// Cooperative matrices of f16, whose products are summed up in f32.
alias MatrixA = coop_mat${SIDE}x${SIDE}<f16, A>;
alias MatrixB = coop_mat${SIDE}x${SIDE}<f16, B>;
alias MatrixC = coop_mat${SIDE}x${SIDE}<f32, C>;

const SIDE = ${SIDE}u;
const THREADS = ${THREADS}u;
