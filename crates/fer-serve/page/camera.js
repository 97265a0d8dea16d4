// Opens and closes the camera, with a sentence for each way in which that can fail.

const WHY = {
  NotAllowedError: "The browser was not allowed to use the camera. Allow it in the address bar, then try again.",
  NotFoundError: "There is no camera on this device. A photo or a video file works as well.",
  NotReadableError: "Another program uses the camera. Close that program, then try again.",
  OverconstrainedError: "The camera does not support the requested settings.",
};

/** Starts the camera in a video element; `facing` is "user" or "environment". Throws an error with a sentence. */
export async function openCamera(video, facing) {
  if (!navigator.mediaDevices?.getUserMedia) {
    throw new Error("Browsers allow the camera only on pages over HTTPS or on localhost.");
  }
  let stream;
  try {
    const wanted = { facingMode: facing, width: { ideal: 1280 }, height: { ideal: 720 } };
    stream = await navigator.mediaDevices.getUserMedia({ video: wanted, audio: false });
  } catch (error) {
    throw new Error(WHY[error.name] ?? "The camera cannot be opened.");
  }
  video.srcObject = stream;
  await video.play();
  return stream;
}

export function closeCamera(video) {
  video.srcObject?.getTracks().forEach((track) => track.stop());
  video.srcObject = null;
}

/** The current picture of a video as a JPEG whose longer side is at most `side` pixels. */
export async function snapshot(video, side, quality) {
  const [width, height] = [video.videoWidth, video.videoHeight];
  if (!width) return null;
  const scale = Math.min(1, side / Math.max(width, height));
  const canvas = new OffscreenCanvas(Math.round(width * scale), Math.round(height * scale));
  canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
  return canvas.convertToBlob({ type: "image/jpeg", quality });
}
