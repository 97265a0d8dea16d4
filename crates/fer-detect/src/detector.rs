//! The whole cascade.

use std::time::Duration;

use fer_engine::Engine;
use image::RgbImage;

use crate::face::Face;
use crate::net::DetectError;
use crate::stages::{Finisher, Proposer, Refiner};
use crate::{DetectorConfig, DetectorModel};

/// Finds faces; owns its sessions, so each thread has one of its own.
pub struct Detector {
    proposer: Proposer,
    refiner: Refiner,
    finisher: Finisher,
    config: DetectorConfig,
}

impl Detector {
    /// Opens the networks that are part of the program.
    ///
    /// # Errors
    /// A setting out of range.
    pub fn new(engine: &Engine, config: DetectorConfig) -> Result<Self, DetectError> {
        Self::with_model(engine, &DetectorModel::embedded(), config)
    }

    /// Opens other networks.
    ///
    /// # Errors
    /// A setting out of range, or a graph that the engine does not open.
    pub fn with_model(
        engine: &Engine,
        model: &DetectorModel,
        config: DetectorConfig,
    ) -> Result<Self, DetectError> {
        config.check().map_err(DetectError::Config)?;
        Ok(Self {
            proposer: Proposer::open(engine, &model.pnet)?,
            refiner: Refiner::open(engine, &model.rnet)?,
            finisher: Finisher::open(engine, &model.onet)?,
            config,
        })
    }

    /// The faces of a picture, the most confident first. Boxes lie in the picture.
    ///
    /// # Errors
    /// Only where a network fails; a picture without a face gives an empty list.
    pub fn detect(&mut self, image: &RgbImage) -> Result<Vec<Face>, DetectError> {
        let proposals = self.proposer.propose(image, &self.config)?;
        let refined = self.refiner.refine(image, &proposals, &self.config)?;
        self.finisher.finish(image, &refined, &self.config)
    }

    /// Time inside the engine since the last call of this.
    pub fn take_session_time(&mut self) -> Duration {
        self.proposer.take_time() + self.refiner.take_time() + self.finisher.take_time()
    }
}
