//! Vectors of one length, and their form in an index.

/// The greatest code of a stored component.
const CODE_MAX: f32 = 127.0;
/// The greatest code of a query's component. With it a sum over [`Vector::DIMENSIONS_MAX`] products is less than 2^31.
const QUERY_CODE_MAX: f32 = 2047.0;

/// The reason why numbers are not a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidVector {
    /// There are no components, or too many.
    #[error("a vector has 1 to {max} components, not {0}", max = Vector::DIMENSIONS_MAX)]
    Dimensions(usize),
    /// A component is infinite or not a number.
    #[error("component {0} of the vector is not a finite number")]
    NotFinite(usize),
    /// All components are 0, so that the vector has no direction.
    #[error("all components of the vector are 0")]
    Zero,
}

/// A vector of length 1. Two of them are compared by the cosine of their angle, which is their scalar product.
#[derive(Clone, Debug, PartialEq)]
pub struct Vector(Box<[f32]>);

/// A stored vector: each component is a code of -127 to 127 that is multiplied by `scale`.
#[derive(Clone, Debug)]
pub(crate) struct Codes {
    pub(crate) codes: Vec<i8>,
    pub(crate) scale: f32,
}

/// A query: each component is a code of -2047 to 2047 that is multiplied by `scale`.
#[derive(Clone, Debug)]
pub(crate) struct QueryCodes {
    pub(crate) codes: Vec<i16>,
    pub(crate) scale: f32,
}

impl Vector {
    /// The greatest number of components.
    pub const DIMENSIONS_MAX: usize = 8192;

    /// Creates a vector with the direction of the components.
    ///
    /// # Errors
    /// Fails if there are no components or more than [`Self::DIMENSIONS_MAX`], if one of them is not finite, or if all are 0.
    pub fn new(components: &[f32]) -> Result<Self, InvalidVector> {
        if components.is_empty() || components.len() > Self::DIMENSIONS_MAX {
            return Err(InvalidVector::Dimensions(components.len()));
        }
        if let Some(at) = components
            .iter()
            .position(|component| !component.is_finite())
        {
            return Err(InvalidVector::NotFinite(at));
        }
        // Divided by the greatest component first, so that the squares neither overflow nor vanish.
        let greatest = greatest(components);
        if greatest <= 0.0 {
            return Err(InvalidVector::Zero);
        }
        let scaled: Vec<f32> = components
            .iter()
            .map(|component| component / greatest)
            .collect();
        let length = scaled
            .iter()
            .map(|component| component * component)
            .sum::<f32>()
            .sqrt();
        Ok(Self(
            scaled.iter().map(|component| component / length).collect(),
        ))
    }

    /// Creates the vector whose first component is 1 and whose others are 0. There is at least one component.
    pub(crate) fn axis(dimensions: usize) -> Self {
        Self(
            (0..dimensions.max(1))
                .map(|at| if at == 0 { 1.0 } else { 0.0 })
                .collect(),
        )
    }

    /// Returns the components.
    pub fn components(&self) -> &[f32] {
        &self.0
    }

    /// Returns the number of components.
    pub fn dimensions(&self) -> usize {
        self.0.len()
    }

    /// Returns the cosine of the angle to another vector, -1 to 1. Of vectors with different numbers of components only
    /// the common ones count.
    pub fn cosine(&self, other: &Self) -> f32 {
        self.0
            .iter()
            .zip(&other.0)
            .map(|(left, right)| left * right)
            .sum::<f32>()
            .clamp(-1.0, 1.0)
    }

    /// Returns the vector as two bytes for each component, to be stored. [`Self::from_bytes`] restores it with an error of less
    /// than 2^-15 of the greatest component.
    pub fn to_bytes(&self) -> Vec<u8> {
        let scale = greatest(&self.0) / f32::from(i16::MAX);
        #[expect(clippy::cast_possible_truncation, reason = "at most 32767")]
        let codes = self
            .0
            .iter()
            .map(|component| (component / scale).round() as i16);
        codes.flat_map(i16::to_le_bytes).collect()
    }

    /// Restores a vector.
    ///
    /// # Errors
    /// Fails if the bytes are not those of a vector.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidVector> {
        let (codes, rest) = bytes.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(InvalidVector::Dimensions(codes.len()));
        }
        let components: Vec<f32> = codes
            .iter()
            .map(|code| f32::from(i16::from_le_bytes(*code)))
            .collect();
        Self::new(&components)
    }

    pub(crate) fn codes(&self) -> Codes {
        let scale = greatest(&self.0) / CODE_MAX;
        #[expect(clippy::cast_possible_truncation, reason = "at most 127")]
        let codes = self
            .0
            .iter()
            .map(|component| (component / scale).round() as i8)
            .collect();
        Codes { codes, scale }
    }

    pub(crate) fn query_codes(&self) -> QueryCodes {
        let scale = greatest(&self.0) / QUERY_CODE_MAX;
        #[expect(clippy::cast_possible_truncation, reason = "at most 2047")]
        let codes = self
            .0
            .iter()
            .map(|component| (component / scale).round() as i16)
            .collect();
        QueryCodes { codes, scale }
    }
}

/// The greatest absolute component.
fn greatest(components: &[f32]) -> f32 {
    components
        .iter()
        .fold(0.0, |greatest, component| component.abs().max(greatest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_has_no_direction_is_not_a_vector() {
        assert_eq!(Vector::new(&[]), Err(InvalidVector::Dimensions(0)));
        assert_eq!(Vector::new(&[0.0, 0.0]), Err(InvalidVector::Zero));
        assert_eq!(
            Vector::new(&[1.0, f32::NAN]),
            Err(InvalidVector::NotFinite(1))
        );
        assert_eq!(
            Vector::new(&[f32::INFINITY]),
            Err(InvalidVector::NotFinite(0))
        );
        assert_eq!(
            Vector::new(&vec![1.0; 8193]),
            Err(InvalidVector::Dimensions(8193))
        );
    }

    #[test]
    fn the_longest_query_does_not_overflow() {
        let ones = Vector::new(&vec![1.0; Vector::DIMENSIONS_MAX]).unwrap();
        let (stored, query) = (ones.codes(), ones.query_codes());
        let sum: i64 = stored
            .codes
            .iter()
            .zip(&query.codes)
            .map(|(&left, &right)| i64::from(left) * i64::from(right))
            .sum();
        assert!(i32::try_from(sum).is_ok(), "{sum}");
    }

    #[test]
    fn bytes_that_are_no_vector_are_refused() {
        assert_eq!(
            Vector::from_bytes(&[1, 2, 3]),
            Err(InvalidVector::Dimensions(1))
        );
        assert_eq!(Vector::from_bytes(&[]), Err(InvalidVector::Dimensions(0)));
        assert_eq!(Vector::from_bytes(&[0, 0]), Err(InvalidVector::Zero));
    }

    proptest! {
        #[test]
        fn a_stored_vector_is_restored(components in prop::collection::vec(-1.0_f32..1.0, 1..64)) {
            prop_assume!(components.iter().any(|component| *component != 0.0));
            let vector = Vector::new(&components).unwrap();
            let restored = Vector::from_bytes(&vector.to_bytes()).unwrap();
            prop_assert!(vector.cosine(&restored) > 0.999_999);
        }

        #[test]
        fn a_vector_has_length_one_whatever_its_components(components in prop::collection::vec(-1e30_f32..1e30, 1..64)) {
            prop_assume!(components.iter().any(|component| *component != 0.0));
            let vector = Vector::new(&components).unwrap();
            prop_assert!((vector.cosine(&vector) - 1.0).abs() < 1e-4);
        }
    }
}
