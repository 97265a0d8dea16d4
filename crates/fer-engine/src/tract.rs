//! tract behind [`Session`]. Only this file and [`crate::onnx`] use tract.
//!
//! One plan serves any batch size. A graph whose height and width are free as well gets one plan per input size, if the
//! input is large enough: with symbolic sides tract runs every convolution as one matrix product and calls a function for
//! each value of an elementwise operator, which takes twice the time. tract composes PReLU of three such operators, so
//! this file implements PReLU as one operator.

use std::sync::Arc;

use tract_onnx::prelude::{InferenceModel, TractError, TypedRunnableModel};
use tract_onnx::tract_hir::internal::{
    DatumExt, EvalContext, EvalOp, Expansion, Factoid, Framework, GenericFactoid, InferenceModelExt,
    InferenceResult, IntoRunnable, IntoTensor, Op, OutletId, Solver, SpecialOps, StaticName, TDim, TValue,
    TVec, TensorProxy, TractResult, TypedFact, TypedModel, TypedOp, args_2, as_op, check_input_arity,
    check_output_arity, expand, op_as_typed_op, op_out_of_plan, tvec,
};

use crate::{EngineError, Outputs, Session, Tensor};

pub(crate) fn open(onnx: &[u8]) -> Result<Box<dyn Session>, EngineError> {
    // `{:#}` includes the causes.
    plan(onnx).map(|session| Box::new(session) as _).map_err(|e| EngineError::Graph(format!("{e:#}")))
}

/// Number of input sizes for which a session keeps plans: enough for the large pyramid levels of a few pictures.
const MAX_PLANS: usize = 32;

/// Number of input values from which a separate plan saves more than the two milliseconds that it takes to make.
const MIN_PLAN_VALUES: usize = 8_000;

fn plan(mut onnx: &[u8]) -> TractResult<TractSession> {
    let mut framework = tract_onnx::onnx();
    framework.op_register.insert("PRelu", |_, _| Ok((expand(PRelu), Vec::new())));
    let proto = framework.proto_model_for_read(&mut onnx)?;
    let graph = proto.graph.as_ref();
    let names = graph.map(|graph| graph.output.iter().map(|output| output.name.clone()).collect());
    let model = framework.parse(&proto, None)?.model;
    let fixed = |side: &GenericFactoid<TDim>| side.concretize().is_some_and(|side| side.to_i64().is_ok());
    let free_sides = !model.input_fact(0)?.shape.dims().skip(1).all(fixed);
    let plans = if free_sides {
        // tract cannot see that the levels of a feature pyramid with symbolic sides fit each other.
        let any_size = model.clone().into_optimized().and_then(IntoRunnable::into_runnable).ok();
        Plans::BySize(PlansBySize { model, any_size, plans: Vec::new() })
    } else {
        Plans::One(model.into_optimized()?.into_runnable()?)
    };
    Ok(TractSession { plans, names: names.unwrap_or_default() })
}

struct TractSession {
    plans: Plans,
    /// Names of the outputs, in the graph's order.
    names: Vec<String>,
}

type Plan = Arc<TypedRunnableModel>;

enum Plans {
    /// The graph's sides are fixed.
    One(Plan),
    /// The graph's sides are free.
    BySize(PlansBySize),
}

struct PlansBySize {
    /// The source of the plans.
    model: InferenceModel,
    /// Serves small inputs of any size. Absent if the graph needs a plan for each size.
    any_size: Option<Plan>,
    /// Input shapes and plans, the most recently used last.
    plans: Vec<(Vec<usize>, Plan)>,
}

impl Plans {
    fn of(&mut self, shape: &[usize]) -> TractResult<Plan> {
        match self {
            Self::One(plan) => Ok(Arc::clone(plan)),
            Self::BySize(plans) => plans.of(shape),
        }
    }
}

impl PlansBySize {
    fn of(&mut self, shape: &[usize]) -> TractResult<Plan> {
        if let Some(plan) = &self.any_size
            && shape.iter().product::<usize>() < MIN_PLAN_VALUES
        {
            return Ok(Arc::clone(plan));
        }
        let known = self.plans.iter().position(|(size, _)| size == shape);
        let entry = if let Some(known) = known {
            self.plans.remove(known)
        } else {
            let fact = f32::fact(shape).into();
            (shape.to_vec(), self.model.clone().with_input_fact(0, fact)?.into_optimized()?.into_runnable()?)
        };
        if self.plans.len() == MAX_PLANS {
            self.plans.remove(0);
        }
        let plan = Arc::clone(&entry.1);
        self.plans.push(entry);
        Ok(plan)
    }
}

impl Session for TractSession {
    fn run(&mut self, input: &Tensor) -> Result<Outputs, EngineError> {
        let failed = |message: String| EngineError::Run { shape: input.shape().to_vec(), message };
        let plan = self.plans.of(input.shape()).map_err(|e| failed(format!("{e:#}")))?;
        let values = tract_onnx::prelude::Tensor::from_shape(input.shape(), input.data());
        let outputs = values.and_then(|values| plan.run(tvec!(values.into())));
        let outputs = outputs.map_err(|e| failed(format!("{e:#}")))?;
        let tensors = self.names.iter().zip(outputs).map(|(name, output)| {
            let values = output.try_as_plain_ram().and_then(|plain| Ok(plain.as_slice::<f32>()?.to_vec()));
            let values = values.map_err(|e| failed(format!("{e:#}")))?;
            Ok((name.clone(), Tensor::new(output.shape(), values)?))
        });
        Ok(Outputs::new(tensors.collect::<Result<_, EngineError>>()?))
    }
}

/// The first output of a graph that takes bytes, which tract runs only in tests.
#[cfg(test)]
pub(crate) fn run_on_bytes(onnx: &[u8], shape: &[usize], bytes: &[u8]) -> Vec<f32> {
    let run = |mut onnx: &[u8]| {
        let model =
            tract_onnx::onnx().model_for_read(&mut onnx)?.with_input_fact(0, u8::fact(shape).into())?;
        let input = tract_onnx::prelude::Tensor::from_shape(shape, bytes)?;
        let outputs = model.into_optimized()?.into_runnable()?.run(tvec!(input.into()))?;
        TractResult::Ok(outputs[0].try_as_plain_ram()?.as_slice::<f32>()?.to_vec())
    };
    run(onnx).unwrap()
}

/// `max(x, 0) + slope · min(x, 0)` (He et al. 2015). Inputs: x `[batch, channels, …]`, and one slope per channel.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct PRelu;

impl Expansion for PRelu {
    fn name(&self) -> StaticName {
        "PRelu".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_input_arity(inputs, 2)?;
        check_output_arity(outputs, 1)?;
        solver.equals(&inputs[0].datum_type, &outputs[0].datum_type)?;
        solver.equals(&inputs[0].shape, &outputs[0].shape)
    }

    fn wire(&self, name: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        model.wire_node(name, self.clone(), inputs)
    }
}

impl Op for PRelu {
    fn name(&self) -> StaticName {
        "PRelu".into()
    }

    op_as_typed_op!();
}

impl TypedOp for PRelu {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(inputs[0].without_value()))
    }

    as_op!();
}

impl EvalOp for PRelu {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let (values, slopes) = args_2!(inputs);
        let mut values = values.into_tensor();
        let (plain, shape) = (slopes.try_as_plain_ram()?, slopes.shape());
        let slopes = plain.as_slice::<f32>()?;
        let channels = values.shape().get(1).copied().unwrap_or(1);
        // Shapes are aligned at their last axes, so the channel axis is counted from the end. A single slope applies to all
        // channels.
        let channel_axis = values.rank().saturating_sub(2);
        let fits = slopes.len() == channels && shape.iter().nth_back(channel_axis) == Some(&channels);
        if slopes.len() != 1 && !fits {
            return Err(TractError::msg(format!("PRelu has slopes {shape:?} for {channels} channels")));
        }
        let plane: usize = values.shape().iter().skip(2).product();
        let mut plain = values.try_as_plain_ram_mut()?;
        for (plane, slope) in
            plain.as_slice_mut::<f32>()?.chunks_exact_mut(plane.max(1)).zip(slopes.iter().cycle())
        {
            for value in plane {
                *value = value.max(0.0) + slope * value.min(0.0);
            }
        }
        Ok(tvec!(values.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prelu(
        shape: &[usize],
        values: &[f32],
        slopes_shape: &[usize],
        slopes: &[f32],
    ) -> TractResult<Vec<f32>> {
        let tensor = |shape: &[usize], values: &[f32]| {
            tract_onnx::prelude::Tensor::from_shape(shape, values).map(TValue::from)
        };
        let inputs = tvec!(tensor(shape, values)?, tensor(slopes_shape, slopes)?);
        let outputs = PRelu.eval(&EvalContext::out_of_plan(), inputs)?;
        Ok(outputs[0].try_as_plain_ram()?.as_slice::<f32>()?.to_vec())
    }

    #[test]
    fn prelu_scales_negative_values_by_their_channel() {
        let values = [1.0, -1.0, 2.0, -2.0, 3.0, -3.0, 4.0, -4.0];
        let by_channel = [1.0, -0.5, 2.0, -1.0, 3.0, 6.0, 4.0, 8.0];
        assert_eq!(prelu(&[1, 2, 2, 2], &values, &[2, 1, 1], &[0.5, -2.0]).unwrap(), by_channel);
        let every_second = [1.0, 2.0, 2.0, 4.0, 3.0, 6.0, 4.0, 8.0];
        assert_eq!(prelu(&[4, 2], &values, &[2], &[0.5, -2.0]).unwrap(), every_second);
        assert_eq!(prelu(&[2, 2, 2, 1], &values, &[1], &[-2.0]).unwrap(), every_second);
        // These slopes lie along the last axis, which is not the channel axis.
        assert!(prelu(&[1, 2, 2, 2], &values, &[2], &[0.5, -2.0]).is_err());
        assert!(prelu(&[1, 2, 2, 2], &values, &[3, 1, 1], &[0.0; 3]).is_err());
    }
}
