//! Tensors, and the named outputs of a graph.

use crate::EngineError;

/// Row-major `f32` values with a shape. Invariant: the number of values is the product of the shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    data: Vec<f32>,
}

impl Tensor {
    /// Makes a tensor from values in row-major order.
    ///
    /// # Errors
    /// Returns [`EngineError::Shape`] if their number is not the product of the shape.
    pub fn new(shape: impl Into<Vec<usize>>, data: Vec<f32>) -> Result<Self, EngineError> {
        let shape = shape.into();
        let values = shape.iter().try_fold(1_usize, |product, side| product.checked_mul(*side));
        if values == Some(data.len()) {
            Ok(Self { shape, data })
        } else {
            Err(EngineError::Shape { shape, values: data.len() })
        }
    }

    /// Returns the dimensions.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Returns the values in row-major order.
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// Returns the values in row-major order.
    pub fn into_data(self) -> Vec<f32> {
        self.data
    }
}

/// The outputs of a forward pass, by name.
#[derive(Debug)]
pub struct Outputs(Vec<(String, Tensor)>);

impl Outputs {
    pub(crate) fn new(outputs: Vec<(String, Tensor)>) -> Self {
        Self(outputs)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.0.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// Takes the output of this name.
    ///
    /// # Errors
    /// Returns [`EngineError::MissingOutput`], which lists the names that the graph has.
    pub fn take(&mut self, name: &str) -> Result<Tensor, EngineError> {
        match self.0.iter().position(|(found, _)| found == name) {
            Some(position) => Ok(self.0.swap_remove(position).1),
            None => {
                let names: Vec<_> = self.0.iter().map(|(found, _)| found.as_str()).collect();
                Err(EngineError::MissingOutput { name: name.to_owned(), found: names.join(", ") })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shape_must_fit() {
        assert!(Tensor::new([2, 3], vec![0.0; 6]).is_ok());
        assert!(Tensor::new([2, 3], vec![0.0; 5]).is_err());
        assert!(Tensor::new([usize::MAX, 2], vec![0.0; 5]).is_err());
    }

    #[test]
    fn a_missing_output_names_those_there() {
        let mut outputs = Outputs::new(vec![("prob".to_owned(), Tensor::new([1], vec![0.5]).unwrap())]);
        let message = outputs.take("reg").unwrap_err().to_string();
        assert!(message.contains("'reg'") && message.contains("prob"));
        assert_eq!(outputs.take("prob").unwrap().data(), [0.5]);
    }
}
