//! tract behind [`Session`]. The only file that speaks to it.
//!
//! One plan serves all input shapes. tract takes its fast elementwise kernels only where it can compare shapes when
//! it plans, and calls a function for each value where sides are symbols. It builds PReLU of three such operators,
//! a third of an MTCNN's time, so here PReLU is one operator of our own.

use std::sync::Arc;

use tract_onnx::prelude::TypedRunnableModel;
use tract_onnx::tract_hir::internal::{
    EvalContext, EvalOp, Expansion, Framework, InferenceModelExt, InferenceResult, IntoRunnable, IntoTensor,
    Op, OutletId, Solver, SpecialOps, StaticName, TValue, TVec, TensorProxy, TractResult, TypedFact,
    TypedModel, TypedOp, args_2, as_op, check_input_arity, check_output_arity, expand, op_as_typed_op,
    op_out_of_plan, tvec,
};

use crate::{EngineError, Outputs, Session, Tensor};

pub(crate) fn open(onnx: &[u8]) -> Result<Box<dyn Session>, EngineError> {
    // `{:#}` names the causes too.
    plan(onnx).map(|session| Box::new(session) as _).map_err(|e| EngineError::Graph(format!("{e:#}")))
}

fn plan(mut onnx: &[u8]) -> TractResult<TractSession> {
    let mut framework = tract_onnx::onnx();
    framework.op_register.insert("PRelu", |_, _| Ok((expand(PRelu), Vec::new())));
    let proto = framework.proto_model_for_read(&mut onnx)?;
    let graph = proto.graph.as_ref();
    let names = graph.map(|graph| graph.output.iter().map(|output| output.name.clone()).collect());
    let plan = framework.parse(&proto, None)?.model.into_optimized()?.into_runnable()?;
    Ok(TractSession { plan, names: names.unwrap_or_default() })
}

struct TractSession {
    plan: Arc<TypedRunnableModel>,
    /// Of the outputs, in the graph's order.
    names: Vec<String>,
}

impl Session for TractSession {
    fn run(&mut self, input: Tensor) -> Result<Outputs, EngineError> {
        let failed = |message: String| EngineError::Run { shape: input.shape().to_vec(), message };
        let values = tract_onnx::prelude::Tensor::from_shape(input.shape(), input.data());
        let outputs = values.and_then(|values| self.plan.run(tvec!(values.into())));
        let outputs = outputs.map_err(|e| failed(format!("{e:#}")))?;
        let tensors = self.names.iter().zip(outputs).map(|(name, output)| {
            let values = output.try_as_plain_ram().and_then(|plain| Ok(plain.as_slice::<f32>()?.to_vec()));
            let values = values.map_err(|e| failed(format!("{e:#}")))?;
            Ok((name.clone(), Tensor::new(output.shape(), values)?))
        });
        Ok(Outputs::new(tensors.collect::<Result<_, EngineError>>()?))
    }
}

/// `max(x, 0) + slope · min(x, 0)`; inputs x `[batch, channels, …]` and one slope a channel (He et al. 2015).
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
        let plain = slopes.try_as_plain_ram()?;
        let slopes = plain.as_slice::<f32>()?;
        // One slope is for all channels.
        let channels = values.shape().get(1).copied().unwrap_or(1);
        if slopes.len() != 1 && slopes.len() != channels {
            return Err(tract_onnx::prelude::TractError::msg(format!(
                "PRelu has {} slopes for {channels} channels",
                slopes.len()
            )));
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
