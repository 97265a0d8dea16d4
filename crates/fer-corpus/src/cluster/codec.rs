//! Lets the plan of a corpus travel: its job as JSON, beside what Ballista's own codecs carry.

use std::sync::Arc;

use ballista_core::serde::{BallistaLogicalExtensionCodec, BallistaPhysicalExtensionCodec};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::common::TableReference;
use datafusion::datasource::file_format::FileFormatFactory;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Extension, LogicalPlan};
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::logical_plan::LogicalExtensionCodec;
use datafusion_proto::physical_plan::{PhysicalExtensionCodec, PhysicalProtoConverterExtension};

use crate::run::{Host, PartsExec, PartsTable};

/// Begins the bytes of a plan of this crate.
const MARK: &[u8] = b"fer-corpus 1\n";

/// Both codecs. Only an executor has a host.
#[derive(Debug)]
pub(super) struct Codec {
    host: Option<Arc<Host>>,
    logical: BallistaLogicalExtensionCodec,
    physical: BallistaPhysicalExtensionCodec,
}

impl Codec {
    pub(super) fn new(host: Option<Arc<Host>>) -> Self {
        let (logical, physical) =
            (BallistaLogicalExtensionCodec::default(), BallistaPhysicalExtensionCodec::default());
        Self { host, logical, physical }
    }
}

fn failed(error: serde_json::Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

impl LogicalExtensionCodec for Codec {
    fn try_decode(&self, bytes: &[u8], inputs: &[LogicalPlan], context: &TaskContext) -> Result<Extension> {
        self.logical.try_decode(bytes, inputs, context)
    }

    fn try_encode(&self, node: &Extension, bytes: &mut Vec<u8>) -> Result<()> {
        self.logical.try_encode(node, bytes)
    }

    fn try_decode_table_provider(
        &self,
        bytes: &[u8],
        name: &TableReference,
        schema: SchemaRef,
        context: &TaskContext,
    ) -> Result<Arc<dyn TableProvider>> {
        let Some(json) = bytes.strip_prefix(MARK) else {
            return self.logical.try_decode_table_provider(bytes, name, schema, context);
        };
        let (job, parts) = serde_json::from_slice(json).map_err(failed)?;
        Ok(Arc::new(PartsTable::new(job, parts, self.host.clone())))
    }

    fn try_encode_table_provider(
        &self,
        name: &TableReference,
        table: Arc<dyn TableProvider>,
        bytes: &mut Vec<u8>,
    ) -> Result<()> {
        let Some(parts) = table.downcast_ref::<PartsTable>() else {
            return self.logical.try_encode_table_provider(name, table, bytes);
        };
        bytes.extend_from_slice(MARK);
        serde_json::to_writer(bytes, &(&parts.job, &parts.parts)).map_err(failed)
    }

    fn try_decode_file_format(
        &self,
        bytes: &[u8],
        context: &TaskContext,
    ) -> Result<Arc<dyn FileFormatFactory>> {
        self.logical.try_decode_file_format(bytes, context)
    }

    fn try_encode_file_format(&self, bytes: &mut Vec<u8>, format: Arc<dyn FileFormatFactory>) -> Result<()> {
        self.logical.try_encode_file_format(bytes, format)
    }
}

impl PhysicalExtensionCodec for Codec {
    fn try_decode(
        &self,
        bytes: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        context: &TaskContext,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(json) = bytes.strip_prefix(MARK) else {
            return self.physical.try_decode(bytes, inputs, context, converter);
        };
        let [input] = inputs else {
            return Err(DataFusionError::Internal("PartsExec has one input".to_owned()));
        };
        let job = serde_json::from_slice(json).map_err(failed)?;
        Ok(Arc::new(PartsExec::new(job, Arc::clone(input), self.host.clone())))
    }

    fn try_encode(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        bytes: &mut Vec<u8>,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        let Some(parts) = plan.downcast_ref::<PartsExec>() else {
            return self.physical.try_encode(plan, bytes, converter);
        };
        bytes.extend_from_slice(MARK);
        serde_json::to_writer(bytes, parts.job()).map_err(failed)
    }
}
