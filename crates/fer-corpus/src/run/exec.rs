//! The plan: a table whose rows are the summaries of parts. Reading a row runs the part.
//!
//! [`PartsExec`] has an input that gives the names of the parts, one in each partition. Schedulers give their tasks some of the
//! partitions by taking rows from such an input, which they know, and leave plans of others as they are.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{ArrayRef, AsArray as _, RecordBatch, StringArray};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::TableType;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::Expr;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, SchedulingType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties as _, PlanProperties,
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{Host, Job, Summary, part};

/// The table of the summaries of parts.
#[derive(Debug)]
pub(crate) struct PartsTable {
    pub(crate) job: Job,
    pub(crate) parts: Vec<String>,
    host: Option<Arc<Host>>,
}

impl PartsTable {
    /// Without a host it can be planned and not run.
    pub(crate) fn new(job: Job, parts: Vec<String>, host: Option<Arc<Host>>) -> Self {
        Self { job, parts, host }
    }

    /// A source with the name of a part in each partition.
    fn names(&self) -> Result<Arc<dyn ExecutionPlan>> {
        let partition = |name: &String| {
            let column: ArrayRef = Arc::new(StringArray::from_iter_values([name]));
            Ok(vec![RecordBatch::try_from_iter([("part", column)])?])
        };
        let partitions = self.parts.iter().map(partition).collect::<Result<Vec<_>>>()?;
        let schema = partitions.first().and_then(|batches| batches.first()).map(RecordBatch::schema);
        let schema = schema.ok_or_else(|| DataFusionError::Plan("there are no parts".to_owned()))?;
        Ok(MemorySourceConfig::try_new_exec(&partitions, schema, None)?)
    }
}

#[async_trait]
impl TableProvider for PartsTable {
    fn schema(&self) -> SchemaRef {
        Summary::schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let all = self.schema().fields().len();
        if projection.is_some_and(|columns| !columns.iter().copied().eq(0..all)) {
            return Err(DataFusionError::NotImplemented("parts have no columns to choose from".to_owned()));
        }
        Ok(Arc::new(PartsExec::new(self.job.clone(), self.names()?, self.host.clone())))
    }
}

/// Runs the parts that its input names.
#[derive(Debug)]
pub(crate) struct PartsExec {
    job: Arc<Job>,
    input: Arc<dyn ExecutionPlan>,
    host: Option<Arc<Host>>,
    properties: Arc<PlanProperties>,
}

impl PartsExec {
    pub(crate) fn new(job: Job, input: Arc<dyn ExecutionPlan>, host: Option<Arc<Host>>) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Summary::schema()),
            input.output_partitioning().clone(),
            EmissionType::Incremental,
            Boundedness::Bounded,
        )
        // Its stream waits for a task.
        .with_scheduling_type(SchedulingType::Cooperative);
        Self { job: Arc::new(job), input, host, properties: Arc::new(properties) }
    }

    #[cfg(feature = "cluster")]
    pub(crate) fn job(&self) -> &Job {
        &self.job
    }
}

impl DisplayAs for PartsExec {
    fn fmt_as(&self, _kind: DisplayFormatType, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PartsExec: manifest={}, out={}", self.job.manifest, self.job.out)
    }
}

impl ExecutionPlan for PartsExec {
    fn name(&self) -> &'static str {
        "PartsExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        _visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let [input] = <[_; 1]>::try_from(children)
            .map_err(|_| DataFusionError::Internal("PartsExec has one input".to_owned()))?;
        Ok(Arc::new(Self::new((*self.job).clone(), input, self.host.clone())))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let lost = || DataFusionError::Execution("only executors of fer run parts".to_owned());
        let host = self.host.clone().ok_or_else(lost)?;
        let job = Arc::clone(&self.job);
        let summaries = self.input.execute(partition, context)?.map(move |batch| {
            let (host, job) = (Arc::clone(&host), Arc::clone(&job));
            let batch = batch?;
            let column = batch.column(0).as_string_opt::<i32>().cloned();
            let column = column.ok_or_else(|| DataFusionError::Internal("parts have names".to_owned()))?;
            let names: Vec<String> = column.iter().flatten().map(str::to_owned).collect();
            Ok::<_, DataFusionError>(
                stream::iter(names).then(move |name| summary(Arc::clone(&host), Arc::clone(&job), name)),
            )
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(Summary::schema(), summaries.try_flatten())))
    }
}

/// Runs a part on the host's threads.
async fn summary(host: Arc<Host>, job: Arc<Job>, name: String) -> Result<RecordBatch> {
    let task = part::AbortOnDrop(host.handle.spawn(part::run(Arc::clone(&host), job, name)));
    task.await??.to_batch()
}
