//! Numbers that carry their derivatives by four variables (forward-mode differentiation), for the box loss.

use std::ops::{Add, Mul, Sub};

/// A value and its partial derivatives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dual {
    /// The value.
    pub value: f32,
    /// The derivatives by each variable.
    pub by: [f32; 4],
}

impl Dual {
    /// A number that depends on no variable.
    pub fn constant(value: f32) -> Self {
        Self { value, by: [0.0; 4] }
    }

    /// The variable with this number.
    pub fn variable(value: f32, number: usize) -> Self {
        let mut by = [0.0; 4];
        by[number] = 1.0;
        Self { value, by }
    }

    /// A function of the number, given the function's value and derivative there.
    fn chain(self, value: f32, derivative: f32) -> Self {
        Self { value, by: self.by.map(|by| by * derivative) }
    }

    /// `exp(x)`
    pub fn exp(self) -> Self {
        let value = self.value.exp();
        self.chain(value, value)
    }

    /// `1 / x`
    pub fn inverse(self) -> Self {
        let value = 1.0 / self.value;
        self.chain(value, -value * value)
    }

    /// `x²`
    pub fn squared(self) -> Self {
        self * self
    }

    /// The smaller of two numbers.
    pub fn min(self, other: Self) -> Self {
        if other.value < self.value { other } else { self }
    }

    /// The larger of two numbers.
    pub fn max(self, other: Self) -> Self {
        if other.value > self.value { other } else { self }
    }

    /// The number times a constant.
    pub fn times(self, factor: f32) -> Self {
        self.chain(self.value * factor, factor)
    }
}

impl Add for Dual {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { value: self.value + other.value, by: std::array::from_fn(|i| self.by[i] + other.by[i]) }
    }
}

impl Sub for Dual {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self + other.times(-1.0)
    }
}

impl Mul for Dual {
    type Output = Self;

    fn mul(self, other: Self) -> Self {
        let sum = self.times(other.value) + other.times(self.value);
        Self { value: self.value * other.value, by: sum.by }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derivatives_of_a_composed_function() {
        // f(x, y) = exp(x) · y² / (x + 3) at (1, 2)
        let (x, y) = (Dual::variable(1.0, 0), Dual::variable(2.0, 1));
        let f = x.exp() * y.squared() * (x + Dual::constant(3.0)).inverse();
        let e = std::f32::consts::E;
        assert!((f.value - e).abs() < 1e-5);
        // By x: f · (1 − 1/4). By y: f · 2/2.
        assert!((f.by[0] - 0.75 * e).abs() < 1e-5 && (f.by[1] - e).abs() < 1e-5, "{f:?}");
        assert_eq!(f.by[2..], [0.0; 2]);
        assert_eq!((x.min(y), x.max(y), (x - y).value), (x, y, -1.0));
    }
}
