//! The burn network that is trained and the ONNX graph that is served compute the same function: the same faces with the
//! same preprocessing give logits within 1e-4, for every kind of layer, with batch-norm statistics far from the identity.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use burn::tensor::activation::softmax;
use burn::tensor::{Device, Tensor, TensorData};
use fer_engine::{ActivationRanges, Engine, Precision};
use fer_image::{CropRule, FaceCrop, Luma};
use fer_model::bundle::{BundleBuilder, HeadEntry};
use fer_model::spec::{Architecture, InputSpec, Shape};
use fer_model::weights::{Weights, WeightsDtype};
use fer_model::{Bundle, Classifier, NetworkSpec, onnx};
use fer_network::Network;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const FACES: usize = 64;
const TOLERANCE: f32 = 1e-4;

const CNN6: &str = include_str!("../../../configs/models/cnn6.json");

/// Two heads on one trunk.
const CNN6_FERPLUS: &str = include_str!("../../../configs/models/cnn6-ferplus.json");

/// A network with cnn6's input, preprocessing and labels.
const CNN6_NARROW: &str = r#"{
  "name": "narrow",
  "input": { "channels": 1, "height": 48, "width": 48 },
  "preprocessing": { "mean": 0.508, "std": 0.255 },
  "labels": ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"],
  "layers": [
    { "kind": "conv", "channels": 4, "kernel": 3, "stride": 2 },
    { "kind": "batch_norm" },
    { "kind": "relu" },
    { "kind": "flatten" },
    { "kind": "dense", "units": 7 }
  ]
}"#;

/// Features that cnn6 does not use: replicated channels, an input that is not square, valid padding, biases under and without
/// a batch norm, kernels of 1 and 5, batch norm behind ReLU, pooling and flattening, a pool with a remainder, six
/// labels in another order.
const EVERY_KIND: &str = r#"{
  "name": "every-kind",
  "input": { "channels": 3, "height": 30, "width": 24 },
  "preprocessing": { "mean": 0.4, "std": 0.3 },
  "labels": ["happy", "neutral", "sad", "surprise", "angry", "fear"],
  "layers": [
    { "kind": "conv", "channels": 8, "kernel": 5, "padding": "valid" },
    { "kind": "batch_norm" },
    { "kind": "relu" },
    { "kind": "batch_norm" },
    { "kind": "max_pool", "size": 2 },
    { "kind": "conv", "channels": 12, "kernel": 3, "padding": "same", "bias": false },
    { "kind": "relu" },
    { "kind": "batch_norm" },
    { "kind": "conv", "channels": 10, "kernel": 1 },
    { "kind": "max_pool", "size": 3 },
    { "kind": "batch_norm" },
    { "kind": "conv", "channels": 6, "kernel": 3 },
    { "kind": "dropout", "rate": 0.5 },
    { "kind": "flatten" },
    { "kind": "batch_norm" },
    { "kind": "dense", "units": 20 },
    { "kind": "batch_norm" },
    { "kind": "relu" },
    { "kind": "batch_norm" },
    { "kind": "dropout", "rate": 0.3 },
    { "kind": "dense", "units": 16, "bias": false },
    { "kind": "dense", "units": 6 }
  ]
}"#;

/// Blocks of both kinds, with and without a convolution in the shortcut, and nested; grouped and depthwise convolutions, the
/// other activations and pools.
const BLOCKS: &str = r#"{
  "name": "blocks",
  "input": { "channels": 1, "height": 30, "width": 26 },
  "preprocessing": { "mean": 0.5, "std": 0.25, "margin": 3 },
  "labels": ["happy", "neutral", "sad", "surprise", "angry", "fear", "disgust"],
  "layers": [
    { "kind": "conv", "channels": 8, "kernel": 3, "bias": false },
    { "kind": "batch_norm" },
    { "kind": "relu6" },
    { "kind": "residual", "body": [
      { "kind": "conv", "channels": 8, "kernel": 3, "groups": 2 },
      { "kind": "batch_norm" },
      { "kind": "elu", "alpha": 0.7 },
      { "kind": "residual", "body": [{ "kind": "relu6" }], "shortcut": [{ "kind": "batch_norm" }] }
    ] },
    { "kind": "relu" },
    { "kind": "residual",
      "body": [
        { "kind": "conv", "channels": 16, "kernel": 3, "stride": 2, "bias": false },
        { "kind": "batch_norm" },
        { "kind": "relu" },
        { "kind": "conv", "channels": 16, "kernel": 3, "bias": false },
        { "kind": "batch_norm" }
      ],
      "shortcut": [
        { "kind": "conv", "channels": 16, "kernel": 1, "stride": 2, "bias": false },
        { "kind": "batch_norm" }
      ]
    },
    { "kind": "elu" },
    { "kind": "inverted_residual", "channels": 12, "expansion": 1 },
    { "kind": "inverted_residual", "channels": 12, "expansion": 4 },
    { "kind": "avg_pool", "size": 2 },
    { "kind": "inverted_residual", "channels": 20, "expansion": 6, "stride": 2 },
    { "kind": "conv", "channels": 20, "kernel": 3, "groups": 20 },
    { "kind": "global_avg_pool" },
    { "kind": "dense", "units": 12 },
    { "kind": "relu6" },
    { "kind": "dropout", "rate": 0.2 },
    { "kind": "elu" },
    { "kind": "dense", "units": 7 }
  ]
}"#;

/// A feature pyramid: taps, upsampling, lateral connections with and without layers, and heads on taps and on the trunk.
const PYRAMID: &str = r#"{
    "input": {"channels": 3, "height": 16, "width": 16},
    "layers": [
        {"kind": "conv", "channels": 4, "kernel": 3, "stride": 2, "bias": false}, {"kind": "batch_norm"}, {"kind": "relu"},
        {"kind": "tap", "name": "fine"},
        {"kind": "conv", "channels": 6, "kernel": 3, "stride": 2}, {"kind": "relu"},
        {"kind": "tap", "name": "middle"},
        {"kind": "conv", "channels": 6, "kernel": 3, "stride": 2}, {"kind": "relu"},
        {"kind": "tap", "name": "coarse"},
        {"kind": "upsample", "factor": 2},
        {"kind": "add", "tap": "middle"},
        {"kind": "tap", "name": "sum"},
        {"kind": "upsample", "factor": 2},
        {"kind": "add", "tap": "fine", "layers": [
            {"kind": "conv", "channels": 6, "kernel": 1, "bias": false}, {"kind": "batch_norm"}, {"kind": "relu"}
        ]}
    ],
    "heads": [
        {"output": "stride2", "layers": [{"kind": "conv", "channels": 5, "kernel": 1}]},
        {"output": "stride4", "from": "sum", "layers": [{"kind": "conv", "channels": 5, "kernel": 3}]},
        {"output": "stride8", "from": "coarse", "layers": []}
    ]
}"#;

/// Strides, an even kernel, and several heads with and without a softmax. The network is fully convolutional, so it takes larger
/// pictures.
const FULLY_CONVOLUTIONAL: &str = r#"{
  "input": { "channels": 3, "height": 12, "width": 12 },
  "layers": [
    { "kind": "conv", "channels": 8, "kernel": 4, "stride": 2, "padding": "valid", "bias": false },
    { "kind": "batch_norm" },
    { "kind": "relu" },
    { "kind": "conv", "channels": 10, "kernel": 3, "stride": 2 },
    { "kind": "relu" }
  ],
  "heads": [
    { "output": "prob", "softmax": true, "layers": [{ "kind": "conv", "channels": 2, "kernel": 1 }] },
    { "output": "reg", "layers": [
      { "kind": "conv", "channels": 6, "kernel": 3, "padding": "valid", "bias": false },
      { "kind": "batch_norm" },
      { "kind": "relu" },
      { "kind": "conv", "channels": 4, "kernel": 1 }
    ] },
    { "output": "trunk", "layers": [] }
  ]
}"#;

/// The same with dense heads.
const HEADS: &str = r#"{
  "input": { "channels": 1, "height": 11, "width": 14 },
  "layers": [
    { "kind": "conv", "channels": 8, "kernel": 3, "stride": 3 },
    { "kind": "relu" },
    { "kind": "flatten" },
    { "kind": "dense", "units": 12, "bias": false },
    { "kind": "batch_norm" },
    { "kind": "relu" }
  ],
  "heads": [
    { "output": "lmk", "layers": [{ "kind": "dense", "units": 10 }] },
    { "output": "prob", "softmax": true, "layers": [{ "kind": "dense", "units": 2 }] }
  ]
}"#;

#[test]
fn burn_and_the_served_graph_agree() {
    agree_on(&Engine::tract());
}

#[test]
fn what_heads_share_an_output_name_or_do_not_fit_is_refused() {
    let refusal = |from: &str, to: &str| {
        assert!(HEADS.contains(from));
        serde_json::from_str::<Architecture>(&HEADS.replacen(from, to, 1)).unwrap_err().to_string()
    };
    assert!(refusal("\"lmk\"", "\"prob\"").contains("output 'prob' is given twice"));
    assert!(
        refusal("\"kind\": \"dense\", \"units\": 10", "\"kind\": \"flatten\"").contains("layer 6 (flatten)")
    );
    assert!(refusal("\"stride\": 3", "\"stride\": 0").contains("layer 0 (conv): stride is 0"));
}

#[test]
fn blocks_that_do_not_fit_are_refused() {
    let refusal = |from: &str, to: &str| {
        assert!(BLOCKS.contains(from), "no {from}");
        NetworkSpec::from_json(&BLOCKS.replacen(from, to, 1)).unwrap_err().to_string()
    };
    let groups = refusal("\"groups\": 2", "\"groups\": 3");
    assert!(groups.starts_with("layer 3 (residual): body layer 0 (conv): groups is 3"), "{groups}");
    let sum = refusal("\"kernel\": 1, \"stride\": 2", "\"kernel\": 1");
    assert!(sum.contains("body gives 16×15×13, but the shortcut 16×30×26"), "{sum}");
    let empty = refusal("[{ \"kind\": \"relu6\" }]", "[]");
    assert!(empty.contains("the body is empty"), "{empty}");
    assert!(refusal("\"expansion\": 4", "\"expansion\": 0").contains("expansion is 0"));
    assert!(refusal("0.7", "-1").contains("alpha is -1"));
}

#[test]
fn they_agree_on_onnx_runtime_too() {
    let Some(library) = fer_testing::onnx_runtime() else { return };
    let engine = Engine::onnx_runtime(&library).unwrap();
    agree_on(&engine);
    nearly_agree_in_bytes(&engine);
}

/// With the ranges of its values, a graph is computed in 8-bit integers where the processor is made for them.
fn nearly_agree_in_bytes(engine: &Engine) {
    if engine.precision() != Precision::Int8 {
        return fer_testing::skip("int8", "this processor has no instructions for products of bytes");
    }
    let of_spec = |json| NetworkSpec::from_json(json).unwrap().architecture().clone();
    for (name, architecture, enlarged) in [
        ("cnn6 with two heads", of_spec(CNN6_FERPLUS), 1),
        ("blocks", of_spec(BLOCKS), 1),
        ("pyramid", serde_json::from_str(PYRAMID).unwrap(), 3),
    ] {
        let mut random = StdRng::seed_from_u64(13);
        let weights = unusual_weights(&architecture, &mut random);
        let InputSpec { channels, height, width } = architecture.input();
        let shape = [3, channels, enlarged * height, enlarged * width];
        let pixels = (0..shape.iter().product()).map(|_| random.random_range(-1.0_f32..1.0)).collect();
        let input = fer_engine::Tensor::new(shape, pixels).unwrap();
        let graph = onnx::graph(name, &architecture, &weights);
        let ranges = ActivationRanges::measure(&Engine::tract(), &graph, [input.clone()]).unwrap();
        let graph = ranges.attach(&graph).unwrap();
        let run = |engine: &Engine| engine.open(&graph).unwrap().run(&input).unwrap();
        let (mut exact, mut bytes) = (run(&engine.clone().in_single_precision()), run(engine));
        for (head, _) in architecture.heads() {
            let [exact, bytes] =
                [&mut exact, &mut bytes].map(|outputs| outputs.take(&head.output).unwrap().into_data());
            let length =
                |values: &mut dyn Iterator<Item = f32>| values.map(|value| value * value).sum::<f32>().sqrt();
            let error = length(&mut exact.iter().zip(&bytes).map(|(a, b)| a - b))
                / length(&mut exact.iter().copied());
            println!("{name} in bytes: {} differs by {error:.1e} of its length", head.output);
            assert!(error > 0.0 && error < 0.1, "{name}: {} differs by {error}", head.output);
        }
    }
}

#[test]
fn an_ensembles_bundle_is_checked_as_one() {
    let specs = [CNN6_NARROW, &CNN6_NARROW.replace("\"channels\": 4", "\"channels\": 5")]
        .map(|json| NetworkSpec::from_json(json).unwrap());
    let weights = specs.each_ref().map(|spec| Weights::init(spec.architecture(), 3));
    let folder = tempfile::tempdir().unwrap();
    let draft = |members| BundleBuilder {
        members,
        ensemble: Some("both".to_owned()),
        crop: CropRule::default(),
        luma: Luma::REC_601,
        dtype: WeightsDtype::F16,
        heads: HeadEntry::all(&specs[0]),
        activation_ranges: None,
        training: serde_json::Value::Null,
        data_licence: String::new(),
        card: String::new(),
    };
    draft(specs.iter().zip(&weights).collect()).write(folder.path()).unwrap();
    let bundle = Bundle::open(folder.path()).unwrap();
    assert_eq!((bundle.name(), bundle.network().name(), bundle.members().len()), ("both", "narrow", 2));
    let [first, second] = [0, 1].map(|member| bundle.members().nth(member).unwrap().1.get("layers.0.weight"));
    assert_eq!((first.shape[0], second.shape[0]), (4, 5));
    bundle.to_builder().write(&folder.path().join("again")).unwrap();
    assert_eq!(Bundle::open(&folder.path().join("again")).unwrap(), bundle);

    let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    let file = read("weights.safetensors");
    let refusal = |change: fn(&mut serde_json::Value)| {
        let mut json = serde_json::from_slice(&read("model.json")).unwrap();
        change(&mut json);
        Bundle::from_bytes(json.to_string().as_bytes(), &file).unwrap_err().to_string()
    };
    let nameless = refusal(|json| json["name"] = serde_json::Value::Null);
    assert!(nameless.contains("either 'network', or 'name' and 'members'"), "{nameless}");
    let labels = refusal(|json| json["members"][1]["labels"].as_array_mut().unwrap().reverse());
    assert!(labels.contains("narrow and narrow have different labels"), "{labels}");
    let mean = refusal(|json| json["members"][0]["preprocessing"]["mean"] = 0.5.into());
    assert!(mean.contains("different input and preprocessing"), "{mean}");
    let channels = refusal(|json| json["members"][0]["layers"][0]["channels"] = 6.into());
    assert!(channels.contains("expects [6"), "{channels}");
    let fewer = refusal(|json| drop(json["members"].as_array_mut().unwrap().pop()));
    assert!(fewer.contains("'members.1.") && fewer.contains("is not part of the network"), "{fewer}");
    let six = NetworkSpec::from_json(
        &CNN6_NARROW.replace("\"disgust\", ", "").replace("\"units\": 7", "\"units\": 6"),
    )
    .unwrap();
    let others = Weights::init(six.architecture(), 3);
    let mixed = draft(vec![(&specs[0], &weights[0]), (&six, &others)]);
    assert!(mixed.write(&folder.path().join("mixed")).unwrap_err().to_string().contains("different labels"));
    assert!(!folder.path().join("mixed").exists());
}

fn agree_on(engine: &Engine) {
    for (name, json) in [
        ("cnn6", CNN6),
        ("cnn6 with two heads", CNN6_FERPLUS),
        ("every kind", EVERY_KIND),
        ("blocks", BLOCKS),
    ] {
        let worst = worst_difference(engine, json);
        println!("{name} on {}: logits differ by at most {worst:.1e}", engine.describe());
        assert!(worst < TOLERANCE, "{name}: logits differ by {worst}");
    }
    for members in [[CNN6, CNN6_NARROW], [CNN6_FERPLUS; 2]] {
        let worst = worst_difference_of(engine, &members);
        assert!(worst < TOLERANCE, "an ensemble's logits differ by {worst}");
    }
    for (json, sides) in [
        (HEADS, [11, 14]),
        (FULLY_CONVOLUTIONAL, [12, 12]),
        (FULLY_CONVOLUTIONAL, [25, 30]),
        (FULLY_CONVOLUTIONAL, [60, 50]),
        (PYRAMID, [16, 16]),
        (PYRAMID, [40, 24]),
        (PYRAMID, [80, 64]),
    ] {
        heads_agree(engine, &serde_json::from_str(json).unwrap(), sides);
    }
}

/// Compares all outputs of the graph with the burn network's, after the softmax of heads that have one.
fn heads_agree(engine: &Engine, architecture: &Architecture, [height, width]: [usize; 2]) {
    let mut random = StdRng::seed_from_u64(12);
    let weights = unusual_weights(architecture, &mut random);
    let shape = [3, architecture.input().channels, height, width];
    let pixels: Vec<f32> = (0..shape.iter().product()).map(|_| random.random_range(-1.0_f32..1.0)).collect();
    let device = Device::flex();
    let batch = Tensor::from_data(TensorData::new(pixels.clone(), shape), &device);
    let trained = Network::new(architecture, &weights, &device).forward(batch);
    let graph = onnx::graph("heads", architecture, &weights);
    let input = fer_engine::Tensor::new(shape, pixels).unwrap();
    let mut served = engine.open(&graph).unwrap().run(&input).unwrap();
    for ((head, range), trained) in architecture.heads().zip(trained) {
        let served = served.take(&head.output).unwrap();
        let mut trained: Vec<f32> = trained.into_data().convert::<f32>().try_to_vec().unwrap();
        assert_eq!(served.data().len(), trained.len(), "{}", head.output);
        if [height, width] == [architecture.input().height, architecture.input().width] {
            let sides = match architecture.output_shape(head, &range) {
                Shape::Image { channels, height, width } => vec![3, channels, height, width],
                Shape::Vector(features) => vec![3, features],
            };
            assert_eq!(served.shape(), sides, "{}", head.output);
        }
        if head.softmax {
            let places = trained.len() / 3 / 2;
            for sample in trained.chunks_exact_mut(2 * places) {
                for place in 0..places {
                    let (a, b) = (sample[place].exp(), sample[places + place].exp());
                    (sample[place], sample[places + place]) = (a / (a + b), b / (a + b));
                }
            }
        }
        let worst = served.data().iter().zip(&trained).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < TOLERANCE, "{} differs by {worst}", head.output);
    }
}

/// The largest difference between the burn network's logits and those of a bundle that was written, read and opened for serving.
fn worst_difference(engine: &Engine, json: &str) -> f32 {
    worst_difference_of(engine, &[json])
}

/// The same for an ensemble, if there are several networks.
fn worst_difference_of(engine: &Engine, json: &[&str]) -> f32 {
    let specs: Vec<_> = json.iter().map(|json| NetworkSpec::from_json(json).unwrap()).collect();
    let mut random = StdRng::seed_from_u64(11);
    let weights: Vec<_> =
        specs.iter().map(|spec| unusual_weights(spec.architecture(), &mut random)).collect();
    let spec = &specs[0];
    let folder = tempfile::tempdir().unwrap();
    let draft = BundleBuilder {
        members: specs.iter().zip(&weights).collect(),
        ensemble: (specs.len() > 1).then(|| "all".to_owned()),
        crop: CropRule::default(),
        luma: Luma::REC_601,
        dtype: WeightsDtype::F32,
        heads: HeadEntry::all(&specs[0]),
        activation_ranges: None,
        training: serde_json::Value::Null,
        data_licence: String::new(),
        card: String::new(),
    };
    draft.write(folder.path()).unwrap();
    let bundle = Bundle::open(folder.path()).unwrap();

    let input = spec.input();
    let faces: Vec<FaceCrop> = (0..FACES)
        .map(|_| {
            let luma: Vec<u8> = (0..48 * 48).map(|_| random.random()).collect();
            FaceCrop::from_square(&luma, 48, spec.preprocessing().face_size(input)).unwrap()
        })
        .collect();
    let mut pixels = Vec::new();
    for face in &faces {
        spec.preprocessing().apply(face.luma(), input, &mut pixels);
    }
    let device = Device::flex();
    let batch = TensorData::new(pixels, [FACES, input.channels, input.height, input.width]);
    let batch = Tensor::from_data(batch, &device);
    let heads = spec.label_sets().iter().map(|&set| {
        let bundle = bundle.clone().with_labels(Some(set)).unwrap();
        let served = Classifier::new(engine, &bundle).unwrap().logits(&faces).unwrap();
        let logits = bundle.members().map(|(spec, weights)| {
            let network = Network::new(spec.architecture(), weights, &device);
            network.forward(batch.clone()).swap_remove(bundle.head_of_network())
        });
        let trained = match logits.collect::<Vec<_>>() {
            logits if logits.len() == 1 => logits.into_iter().next().unwrap(),
            logits => {
                let count = logits.len() as f32;
                let sum = logits.into_iter().map(|logits| softmax(logits, 1)).reduce(|a, b| a + b).unwrap();
                (sum / count).log()
            }
        };
        difference(&served, &trained.into_data().convert::<f32>().try_to_vec().unwrap(), spec)
    });
    heads.fold(0.0, f32::max)
}

/// The largest difference between the logits that are served and those of training.
fn difference(served: &[f32], trained: &[f32], spec: &NetworkSpec) -> f32 {
    assert_eq!(served.len(), FACES * spec.labels().len());
    assert_eq!(served.len(), trained.len());
    let spread =
        trained.iter().copied().fold(f32::MIN, f32::max) - trained.iter().copied().fold(f32::MAX, f32::min);
    assert!(spread > 1.0, "the logits hardly depend on the face, so agreement would say nothing: {spread}");
    served.iter().zip(trained).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Fresh weights whose biases and batch-norm statistics are far from their initial values.
fn unusual_weights(architecture: &Architecture, random: &mut StdRng) -> Weights {
    let fresh = Weights::init(architecture, 5);
    let arrays = fresh.iter().map(|(name, array)| {
        let mut array = array.clone();
        let range = match name.rsplit('.').next() {
            Some("weight") if array.shape.len() > 1 => None,
            Some("weight" | "running_var") => Some(0.5..1.5),
            _ => Some(-0.5..0.5),
        };
        if let Some(range) = range {
            array.values.iter_mut().for_each(|value| *value = random.random_range(range.clone()));
        }
        (name.to_owned(), array)
    });
    Weights::new(architecture, arrays.collect()).unwrap()
}
