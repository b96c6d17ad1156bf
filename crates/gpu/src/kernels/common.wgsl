// What every kernel begins with. Elements are kept as T and computed with in f32; V and F are as many of them as are read at a time.
//# if F16
enable f16;
//# if MATRICES
enable wgpu_cooperative_matrix;
//# end
alias T = f16;
//# else
alias T = f32;
//# end
//# if WIDE
alias V = vec4<T>;
alias F = vec4<f32>;
alias U = vec4<u32>;
alias I = vec4<i32>;
const LANES = 4u;
//# else
alias V = T;
alias F = f32;
alias U = u32;
alias I = i32;
const LANES = 1u;
//# end

// What tensors lie in memory as: rows that are no multiple of four are read one by one where it is computed with four all the same.
//# if LOOSE
alias E = T;
//# else
alias E = V;
//# end

// A result as it is kept: in f16 within its range, or not a number where that is to be seen; what is not a number stays so.
fn kept(y: F) -> V {
//# if F16
//# if CLAMPS
    let nan = (bitcast<U>(y) & U(0x7fffffffu)) > U(0x7f800000u);
    return V(select(clamp(y, F(-65504.0), F(65504.0)), y, nan));
//# else
    // The least that does not round to the greatest number of f16; written so that nothing is a constant without a number.
    let fits = abs(y) < F(65520.0);
    return V(select(bitcast<F>(bitcast<U>(y) | U(0x7fc00000u)), y, fits));
//# end
//# else
    return y;
//# end
}
